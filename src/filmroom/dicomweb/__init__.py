"""PS3.18 over ASGI."""
