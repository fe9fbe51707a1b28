"""What can go wrong when bytes are read as DICOM: they are wrong, or there are too few yet."""

from __future__ import annotations


class Malformed(ValueError):
    """These bytes are not what they claim to be. The message may be shown to a peer."""


class NeedMore(Exception):
    """The beginning is sound as far as it goes, but what was asked for lies beyond it.

    at_least: a length in bytes; asking again with fewer bytes is in vain.
    """

    def __init__(self, at_least: int) -> None:
        super().__init__(f"at least {at_least} bytes are needed")
        self.at_least = at_least
