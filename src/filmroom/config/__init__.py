"""One TOML file, the environment and the command line -> each room's own frozen settings."""

from filmroom.config.settings import Settings, ae_title, parse_peer
from filmroom.config.sources import ConfigError, InForce, Loaded, load

__all__ = ["ConfigError", "InForce", "Loaded", "Settings", "ae_title", "load", "parse_peer"]
