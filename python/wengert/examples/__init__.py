"""Programs to run and to read: `python -m wengert.examples.digits`.

They need more than the package does: `pip install 'wengert[examples]'`.
"""
