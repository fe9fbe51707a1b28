"""Other doors in; all end in archive.ingest."""
