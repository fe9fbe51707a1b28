"""DIMSE service classes: a verb on the wire becomes a deed in the archive."""
