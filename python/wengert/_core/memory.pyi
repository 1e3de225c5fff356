"""Exact counts of the bytes that arrays hold. Made by tests/regen_stubs.py."""

def live_bytes() -> int:
    """Bytes held by arrays now."""

def live_objects() -> int:
    """Values and nodes alive now: what a leak test compares."""

def peak_bytes() -> int:
    """The largest number of bytes held since the last reset_peak()."""

def release_cache() -> None:
    """Hands pooled, unused memory back to the system."""

def reset_peak() -> None:
    """Starts a new peak at the bytes held now."""
