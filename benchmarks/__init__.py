"""Benchmarks of wengert, and the plain-Python reference they are timed against."""
