"""Fuzzing: whatever the bytes are, only the declared errors, and one reading of them."""
