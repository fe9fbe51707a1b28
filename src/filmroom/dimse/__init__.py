"""The wire. Upper Layer and messages as events; sockets only in server.py and client.py."""
