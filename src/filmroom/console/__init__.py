"""filmroom's own API, for its own screens."""
