"""Pixels. Arrays in, arrays or bytes out; no I/O but its own worker pool."""
