"""What is in a waveform object (PS3.3 C.10.9, A.34): channels, and their samples as numbers.

Samples lie interleaved: all channels of one instant, then of the next (C.10.9.1.7). Only the
stretch that is asked for is read, so that a day of an ECG costs no more than ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import Buffer
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.pixel.errors import NoCodec, TooLarge, Undecodable
from filmroom.pixel.values import items_of, number_of, raw_of

Attributes = Mapping[str, Any]

MAX_GROUPS = 16
MAX_CHANNELS = 256  # of one group
SWAPPED_BYTES = 64 << 20  # of a big endian object, which has to be turned around as a whole

# (Waveform Bits Allocated, Waveform Sample Interpretation) -> how one sample is read (C.10.9.1.6)
KINDS = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (8, "MB"): "u1",  # mu-law, expanded below
    (8, "AB"): "u1",  # A-law
    (16, "SS"): "<i2",
    (16, "US"): "<u2",
    (32, "SL"): "<i4",
    (32, "UL"): "<u4",
    (64, "SV"): "<i8",
    (64, "UV"): "<u8",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: value = sample x factor + baseline, in `unit` (C.10.9.1.4)."""

    label: str
    code: str  # of its source
    unit: str  # UCUM
    factor: float
    baseline: float
    low_hz: float | None = None  # filters
    high_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One multiplex group: channels sampled together.

    samples: of each channel, those that are there. raw: the interleaved samples.
    """

    label: str
    rate_hz: float
    samples: int
    channels: tuple[Channel, ...]
    raw: Buffer
    bits: int
    interpretation: str
    padding: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples / self.rate_hz

    def encoded(self, first: int, count: int) -> NDArray[Any]:
        """(samples, channels) as encoded, from sample `first`; fewer at the end."""
        kind = np.dtype(KINDS[self.bits, self.interpretation])
        width = len(self.channels)
        count = max(min(count, self.samples - first), 0)
        start = first * width * kind.itemsize
        flat = np.frombuffer(self.raw, kind, count * width, start)
        return flat.reshape(count, width)

    def values(self, first: int, count: int) -> NDArray[np.float64]:
        """(channels, samples) in the channels' units; padding is NaN."""
        encoded = self.encoded(first, count)
        if self.interpretation in ("MB", "AB"):
            values = np.asarray(_law(self.interpretation)[encoded], np.float64)
        else:
            values = np.asarray(encoded, np.float64)  # a copy: what is read is not ours to change
        if self.padding is not None:
            values[encoded == self.padding] = np.nan
        values *= [channel.factor for channel in self.channels]
        values += [channel.baseline for channel in self.channels]
        turned: NDArray[np.float64] = values.T
        return turned


@dataclass(frozen=True, slots=True)
class Recording:
    """All that is recorded. facts: (what, value); notes: what somebody has annotated."""

    sop_class_uid: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    groups: tuple[Group, ...]


def header_of(data: Buffer, transfer_syntax_uid: str) -> Attributes:
    """The attributes as DICOM JSON, the samples left where they lie. Raises Undecodable."""
    if not TRANSFER_SYNTAXES[transfer_syntax_uid].little_endian and len(data) > SWAPPED_BYTES:
        raise TooLarge("a big endian waveform of that size cannot be shown")
    try:
        text = dicomjson.encode(data, transfer_syntax_uid, lambda path: path)
    except Malformed as error:
        raise Undecodable(str(error)) from None
    attributes: Attributes = orjson.loads(text)
    return attributes


def groups_of(attributes: Attributes, data: Buffer, transfer_syntax_uid: str) -> tuple[Group, ...]:
    """The multiplex groups. Raises Undecodable when there is none that can be read."""
    items = items_of(attributes, "54000100")
    if not items:
        raise Undecodable("the instance holds no waveform")
    return tuple(
        _group(item, number, data, transfer_syntax_uid)
        for number, item in enumerate(items[:MAX_GROUPS], 1)
    )


def _group(item: Attributes, number: int, data: Buffer, syntax: str) -> Group:
    bits = int(number_of(item, "54001004") or 0)
    interpretation = text_of(item, "54001006")
    if (bits, interpretation) not in KINDS:
        raise NoCodec(f"samples of {bits} bits, {interpretation or 'of no kind'}, are not known")
    if bits > 16 and not TRANSFER_SYNTAXES[syntax].little_endian:
        raise NoCodec("big endian samples of more than 16 bits cannot be shown")
    rate_hz = number_of(item, "003A001A") or 0.0
    width = int(number_of(item, "003A0005") or 0)
    definitions = items_of(item, "003A0200")
    if not 1e-3 <= rate_hz <= 1e7 or not 1 <= width <= MAX_CHANNELS:
        raise Undecodable("a multiplex group says neither how often nor how many are sampled")
    raw = _raw(item, f"54000100/{number}/54001010", data, syntax)
    there = len(raw) // (width * bits // 8)
    said = int(number_of(item, "003A0010") or there)
    channels = [_channel(each) for each in definitions[:width]]
    channels += [
        Channel(f"Channel {at + 1}", "", "", 1.0, 0.0) for at in range(len(channels), width)
    ]
    return Group(
        label=text_of(item, "003A0020"),
        rate_hz=rate_hz,
        samples=max(min(said, there), 0),
        channels=tuple(channels),
        raw=raw,
        bits=bits,
        interpretation=interpretation,
        padding=_padding(item, bits, interpretation),
    )


def _raw(item: Attributes, path: str, data: Buffer, syntax: str) -> Buffer:
    found = item.get("54001010", {})
    if "BulkDataURI" not in found:
        return raw_of(item, "54001010")
    try:
        offset, length, _ = dicomjson.locate(data, syntax, path)
    except (Malformed, KeyError) as error:
        raise Undecodable("the samples cannot be found") from error
    return memoryview(data)[offset : offset + length]


def _padding(item: Attributes, bits: int, interpretation: str) -> float | None:
    raw = raw_of(item, "5400100A")[: bits // 8]
    if len(raw) * 8 < bits:
        return None
    return float(np.frombuffer(raw, KINDS[bits, interpretation], 1)[0])


def _channel(item: Attributes) -> Channel:
    source = next(iter(items_of(item, "003A0208")), {})
    units = next(iter(items_of(item, "003A0211")), {})
    label = text_of(item, "003A0203") or text_of(source, "00080104")
    sensitivity, correction = number_of(item, "003A0210"), number_of(item, "003A0212")
    return Channel(
        label=label or text_of(source, "00080100"),
        code=text_of(source, "00080100"),
        unit=text_of(units, "00080100"),
        factor=(1.0 if sensitivity is None else sensitivity)
        * (1.0 if correction is None else correction),
        baseline=number_of(item, "003A0213") or 0.0,
        low_hz=number_of(item, "003A0220"),
        high_hz=number_of(item, "003A0221"),
        notch_hz=number_of(item, "003A0222"),
    )


def text_of(attributes: Attributes, tag: str) -> str:
    """The values as text, names as they are written; "" when absent."""
    values = attributes.get(tag, {}).get("Value") or []
    return "\\".join(_text(value) for value in values if value is not None)


def _text(value: Any) -> str:
    return "=".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def notes_of(attributes: Attributes) -> Iterator[str]:
    """Annotations in words: findings and measured values, not those of single instants."""
    for item in items_of(attributes, "0040B020"):
        text = text_of(item, "00700006")
        name = text_of(next(iter(items_of(item, "0040A043")), {}), "00080104")
        number = text_of(item, "0040A30A")
        unit = text_of(next(iter(items_of(item, "004008EA")), {}), "00080100")
        coded = text_of(next(iter(items_of(item, "0040A168")), {}), "00080104")
        value = " ".join(part for part in (number, unit if number else "", coded, text) if part)
        if value:
            yield ": ".join(part for part in (name, value) if part)


@cache
def _law(interpretation: str) -> NDArray[np.int32]:
    """256 samples of ITU-T G.711 as linear ones of 16 bits."""
    code = np.arange(256)
    if interpretation == "MB":
        code = ~code & 0xFF
        exponent, mantissa = code >> 4 & 7, code & 15
        size = ((mantissa << 3) + 0x84 << exponent) - 0x84
    else:
        code = code ^ 0x55
        exponent, mantissa = code >> 4 & 7, code & 15
        size = np.where(
            exponent == 0,
            (mantissa << 4) + 8,
            (mantissa << 4) + 0x108 << np.maximum(exponent - 1, 0),
        )
    negative = code & 0x80 != 0
    if interpretation == "AB":
        negative = ~negative
    return np.where(negative, -size, size).astype(np.int32)
