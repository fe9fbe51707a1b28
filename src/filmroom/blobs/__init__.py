"""The bytes. Written once, read by range."""
