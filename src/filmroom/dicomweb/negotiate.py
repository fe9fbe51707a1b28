"""Content negotiation: Accept, media types and transfer syntaxes (PS3.18 8.7). Pure.

The `accept` query parameter stands in for the header when there is one (8.3.3.1). What
the client likes best wins; among equals, what needs no transcoding wins. Parsing and
choosing are cached: clients repeat the same header for every frame of a series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from filmroom.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
    is_valid_uid,
)

MAX_ACCEPT_BYTES = 8192
MAX_RANGES = 64

DICOM = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
ZIP = "application/zip"
MULTIPART = "multipart/related"

AS_STORED = "*"

# Table 8.7.3-5: what an image type without a transfer-syntax parameter asks for.
DEFAULT_SYNTAX = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jxl": "1.2.840.10008.1.2.4.110",
}

# Frames of these lie in the file exactly as octet-stream wants them (Table 8.7.3-4).
NATIVE_LITTLE_ENDIAN = frozenset({IMPLICIT_VR_LE, EXPLICIT_VR_LE, DEFLATED_EXPLICIT_VR_LE})

_WORD = r"[^\s\"(),;=]+"  # looser than RFC 9110: unquoted type=application/dicom is common
_PARAMETER = re.compile(rf'\s*;\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_TYPE = re.compile(rf"\s*({_WORD})")
_END = re.compile(r"\s*(?:;\s*)*(?:,|$)")


class NotUnderstood(ValueError):
    """The text is no list of media types; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One media range of an Accept list, or one Content-Type."""

    media_type: str  # lower case; "*/*" and "image/*" are ranges
    parameters: tuple[tuple[str, str], ...] = ()  # lower-case names, without q
    q: float = 1.0

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, unquoted; None when it is not there."""
        return next((value for key, value in self.parameters if key == name), None)

    @property
    def is_multipart(self) -> bool:
        """Whether the parts travel in multipart/related."""
        return self.media_type == MULTIPART

    @property
    def content(self) -> str:
        """What is inside: the `type` of a multipart/related, else the media type itself."""
        if not self.is_multipart:
            return self.media_type
        return (self.parameter("type") or "*/*").lower()

    @property
    def transfer_syntax(self) -> str | None:
        """The transfer-syntax parameter: a UID, `*`, or None (8.7.3.5.2)."""
        return self.parameter("transfer-syntax")

    def covers(self, media_type: str) -> bool:
        """Whether a concrete media type falls into this range's content."""
        return covers(self.content, media_type)


def covers(media_range: str, media_type: str) -> bool:
    """Whether `media_type` falls into `media_range` (RFC 9110 12.5.1)."""
    if media_range in ("*/*", media_type):
        return True
    return media_range.endswith("/*") and media_type.startswith(media_range[:-1])


@lru_cache(maxsize=1024)
def parse_accept(text: str) -> tuple[MediaRange, ...]:
    """Media ranges, the most wanted first, q=0 ones last. Empty text accepts everything.

    Raises NotUnderstood for text that is no Accept list, or an absurdly long one.
    """
    if len(text) > MAX_ACCEPT_BYTES:
        raise NotUnderstood("the Accept list is too long")
    ranges: list[MediaRange] = []
    at = 0
    while at < len(text):
        if text[at:].strip(" \t,") == "":
            break
        media_range, at = _one(text, at)
        end = _END.match(text, at)
        if end is None:
            raise NotUnderstood(f"not an Accept list near {text[at : at + 40]!r}")
        ranges.append(media_range)
        at = end.end()
        if len(ranges) > MAX_RANGES:
            raise NotUnderstood(f"more than {MAX_RANGES} media ranges")
    return tuple(sorted(ranges, key=lambda each: -each.q)) or (MediaRange("*/*"),)


def parse_media_type(text: str) -> MediaRange:
    """One Content-Type; raises NotUnderstood."""
    media_range, at = _one(text[:MAX_ACCEPT_BYTES], 0)
    if _END.match(text, at) is None or "*" in media_range.media_type:
        raise NotUnderstood(f"not a media type: {text[:80]!r}")
    return media_range


def _one(text: str, at: int) -> tuple[MediaRange, int]:
    found = _TYPE.match(text, at)
    if found is None:
        raise NotUnderstood(f"not a media type near {text[at : at + 40]!r}")
    media_type = found[1].lower()
    if media_type == "*":
        media_type = "*/*"
    if media_type.count("/") != 1 or media_type[0] == "/" or media_type[-1] == "/":
        raise NotUnderstood(f"not a media type: {media_type[:80]!r}")
    at = found.end()
    parameters: dict[str, str] = {}
    while (parameter := _PARAMETER.match(text, at)) is not None:
        value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
        parameters[parameter[1].lower()] = value
        at = parameter.end()
    q = _quality(parameters.pop("q", "1"))
    return MediaRange(media_type, tuple(parameters.items()), q), at


def _quality(text: str) -> float:
    if re.fullmatch(r"0(\.\d{0,6})?|1(\.0{0,6})?|\.\d{1,6}", text) is None:
        raise NotUnderstood(f"not a q value: {text[:20]!r}")
    return float(text)


def accept_text(header: str | None, parameter: str | None) -> str:
    """The Accept list in force: the query parameter if given, else the header (8.3.3.1).

    A `+` in a query is a blank to URL decoders, so `application/dicom+json` written
    plainly arrives with a blank inside.
    """
    if not parameter:
        return header or ""
    return re.sub(r"(?<=[\w])\s(?=(?:json|xml)\b)", "+", parameter.strip())


def split_offer(offer: str) -> tuple[bool, str]:
    """An offer as (is it multipart/related, what is inside)."""
    media_range = parse_accept(offer)[0]
    return media_range.is_multipart, media_range.content


@lru_cache(maxsize=1024)
def choose(accept: str, offers: tuple[str, ...]) -> str | None:
    """The offer that the client likes best, None when it likes none (8.7.8).

    offers: media types, `multipart/related; type="..."` included, our favourite first. Among
    those liked equally the one named first wins.
    """
    ranges = parse_accept(accept)
    liked: list[tuple[int, int, str]] = []
    for ours, offer in enumerate(offers):
        said = _said_of(ranges, *split_offer(offer))
        if said is not None and said.q > 0:
            liked.append((ranges.index(said), ours, offer))  # ranges are in order of q
    return min(liked)[2] if liked else None


def _said_of(ranges: Sequence[MediaRange], multipart: bool, content: str) -> MediaRange | None:
    """The range that decides about a media type: the narrowest it falls into (RFC 9110 12.5.1)."""
    fitting = [
        each
        for each in ranges
        if each.covers(content) and (each.media_type == "*/*" or each.is_multipart is multipart)
    ]
    return max(fitting, key=_narrowness, default=None)


def _narrowness(media_range: MediaRange) -> int:
    if media_range.media_type == "*/*":
        return 0
    content = media_range.content
    return 1 if content == "*/*" else 2 if content.endswith("/*") else 3


@dataclass(frozen=True, slots=True)
class Form:
    """In what form something is to be sent."""

    multipart: bool
    media_type: str  # of the (part's) content
    transfer_syntax_uid: str = AS_STORED  # `*`: as stored
    by_default: bool = False  # the client named no transfer syntax: ours to relax (8.7.3)

    @property
    def recoded(self) -> bool:
        """Whether this is another form than the stored one."""
        return self.transfer_syntax_uid != AS_STORED


@lru_cache(maxsize=1024)
def instance_forms(accept: str, *, single: bool) -> tuple[Form, ...]:
    """In what forms whole instances may be sent, best first; empty: in none (8.7.3.2).

    single: one instance is asked for, so a lone application/dicom body is possible.
    The transfer syntax is Explicit VR Little Endian when the client names none.
    """
    forms: list[Form] = []
    for media_range in parse_accept(accept):
        if media_range.q == 0:
            continue
        syntax = _syntax(media_range, EXPLICIT_VR_LE)
        default = media_range.transfer_syntax is None
        multipart = media_range.is_multipart and media_range.covers(DICOM)
        if multipart or media_range.media_type in ("*/*", "application/*"):
            forms.append(Form(True, DICOM, syntax, default))
        elif media_range.media_type == DICOM and single:
            forms.append(Form(False, DICOM, syntax, default))
        elif media_range.media_type == ZIP:
            forms.append(Form(False, ZIP, _syntax(media_range, AS_STORED)))
    return tuple(forms)


@lru_cache(maxsize=4096)
def frame_forms(accept: str, stored: str) -> tuple[Form, ...]:
    """In what forms frames stored in the syntax `stored` may be sent, best first (8.7.3.3).

    A Form of `*` is the bytes as they lie; any other asks for transcoding. Equally
    wanted forms come with the one that needs no work first.
    """
    wanted: list[tuple[float, bool, Form]] = []
    ranges = parse_accept(accept)
    for media_range in ranges:
        if media_range.q == 0:
            continue
        costly = None
        for form in _frame_candidates(media_range, stored):
            q = media_range.q
            said = _said_of(ranges, form.multipart, form.media_type)
            if said is not None and _narrowness(said) > _narrowness(media_range):
                q = min(q, said.q)
            if q > 0:
                costly = form.recoded if costly is None else costly
                wanted.append((-q, costly, form))
    wanted.sort(key=lambda each: each[:2])
    return tuple(form for _, _, form in wanted)


def _frame_candidates(media_range: MediaRange, stored: str) -> Iterable[Form]:
    multipart = media_range.is_multipart or media_range.media_type == "*/*"
    content = media_range.content
    syntax = _syntax(media_range, "")
    stored_type = media_type_of(stored)
    native = stored in NATIVE_LITTLE_ENDIAN
    if covers(content, OCTETS):
        if native and syntax in ("", AS_STORED, *NATIVE_LITTLE_ENDIAN):
            yield Form(multipart, OCTETS)
        elif syntax in (AS_STORED, stored) and stored != EXPLICIT_VR_BE:
            yield Form(multipart, stored_type)
        elif syntax in ("", AS_STORED, *NATIVE_LITTLE_ENDIAN):
            yield Form(multipart, OCTETS, EXPLICIT_VR_LE)
        else:
            yield Form(multipart, media_type_of(syntax), syntax)
        if content == "*/*" and not native and syntax == "":
            yield Form(multipart, stored_type)  # better compressed than not at all
    elif covers(content, stored_type) and not native and syntax in ("", AS_STORED, stored):
        yield Form(multipart, stored_type)
    elif content == "image/*":
        target = DEFAULT_SYNTAX["image/jpeg"] if syntax in ("", AS_STORED) else syntax
        yield Form(multipart, media_type_of(target), target)
    elif content in DEFAULT_SYNTAX:
        target = DEFAULT_SYNTAX[content] if syntax in ("", AS_STORED) else syntax
        if media_type_of(target) == content:
            yield Form(multipart, content, target)


def _syntax(media_range: MediaRange, default: str) -> str:
    syntax = media_range.transfer_syntax
    if syntax is None:
        return default
    if syntax != AS_STORED and not is_valid_uid(syntax):
        raise NotUnderstood(f"not a transfer syntax: {syntax[:80]!r}")
    return syntax


def media_type_of(transfer_syntax_uid: str) -> str:
    """The media type of a frame in this syntax, without packaging (Table 8.7.3-5)."""
    known = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return known.media_type if known is not None and known.encapsulated else OCTETS


def what_is_to_be_had(offers: Sequence[str]) -> str:
    """The sentence of a 406 answer (8.7.8)."""
    return "What can be had here: " + " | ".join(offers)
