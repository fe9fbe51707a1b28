"""The archive as one object: one door in, one door out, and what they stand on."""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.retrieve import Retriever
from filmroom.archive.stores import Blobs, Index


@dataclass(frozen=True, slots=True)
class Archive:
    """Handed to every edge by node.py."""

    ingest: Ingest
    finder: Finder
    retriever: Retriever
    index: Index
    blobs: Blobs
