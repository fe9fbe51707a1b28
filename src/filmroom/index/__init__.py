"""Where things are. The archive's Index on SQLite or PostgreSQL."""
