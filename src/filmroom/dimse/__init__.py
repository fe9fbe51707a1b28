"""The wire. Upper Layer and messages as events; sockets only in link.py, server.py, client.py."""
