"""The one HTTP application (app, gate, door, pages) and the server that runs it (server)."""

from filmroom.asgi.app import App, AppSettings, create_app
from filmroom.asgi.server import HttpServer

__all__ = ["App", "AppSettings", "HttpServer", "create_app"]
