"""A recording on paper: 12 leads as cardiologists lay them out, anything else one below the other.

25 mm are one second and 10 mm one millivolt, as on the paper of an electrocardiograph, unless
the page says otherwise. Only a first stretch of a long recording is drawn; the page says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from filmroom.documents import wording
from filmroom.documents.drawing import SOFT, Drawing, Grid, Part, Text, Trace, runs, thinned
from filmroom.documents.recording import Channel, Group, Recording

MARGIN = 10.0
PULSE = 10.0  # mm at the left of each row, with the calibration pulse in them
STRIP = 250.0  # mm of time across the page
SPEED = 25.0  # mm/s
GAIN = 10.0  # mm/mV
ROW = 25.0
LINE = 4.6  # of text
FINENESS = 0.2  # mm, below which points are thinned out
GROUPS_DRAWN = 8
ROWS_DRAWN = 32  # of one group
FAR_MV = 2.0  # a trace whose middle lies further from zero is moved there
MOST_SAMPLES = 4_000_000  # of one group that are read
NOTES_DRAWN = 18

MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "nV": 1e-6, "V": 1e3}
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_BY_LOWER = {lead.lower(): lead for lead in LEADS}
# The last number of a lead's code, in SCP-ECG (5.6.3-9-n) and MDC (2:n) alike.
_BY_NUMBER = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS, strict=True))
_LEAD_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d{1,2})")
_LEAD_LABEL = re.compile(r"(?:mdc_ecg_)?(?:lead[ _])?(i{1,3}|av[rlf]|v[1-6])(?:\s*\(.*\))?", re.I)


def lead_of(channel: Channel) -> str:
    """Which of the twelve leads a channel is; "" for none of them."""
    code = _LEAD_CODE.fullmatch(channel.code)
    if code is not None:
        return _BY_NUMBER.get(int(code[1]), "")
    found = _LEAD_LABEL.fullmatch(channel.label.strip())
    return _BY_LOWER[found[1].lower()] if found else ""


def chart_of(recording: Recording, title: str) -> Drawing:
    """The whole page."""
    drawing = Drawing(2 * MARGIN + PULSE + STRIP, 0.0, title)
    y = MARGIN + 2
    drawing.parts.append(Text(MARGIN, y + 2, title, 5.0, bold=True))
    y = _head(drawing.parts, recording, y + 5)
    for group in recording.groups[:GROUPS_DRAWN]:
        y = _block(drawing.parts, group, y + 4)
    hidden = len(recording.groups) - GROUPS_DRAWN
    if hidden > 0:
        drawing.parts.append(
            Text(MARGIN, y + 4, f"{hidden} more groups are not drawn", 3, colour=SOFT)
        )
        y += 5
    drawing.height = math.ceil(y + MARGIN)
    return drawing


def _head(parts: list[Part], recording: Recording, y: float) -> float:
    """Whose it is on the left, what was found on the right; returns where it ends."""
    left = [f"{what}: {value}" for what, value in recording.facts if value]
    right = [_clipped(note, 44) for note in recording.notes[:NOTES_DRAWN]]
    hidden = len(recording.notes) - len(right)
    if hidden > 0:
        right[-1:] = [f"and {hidden + 1} more"]
    for row, words in enumerate(left):
        parts.append(Text(MARGIN, y + LINE * (row + 1), _clipped(words, 70), 3.2))
    half = -(-len(right) // 2)
    for at, words in enumerate(right):
        x = MARGIN + 118 + (0 if at < half else 72)
        parts.append(Text(x, y + LINE * (at % half + 1), words, 3.2))
    return y + LINE * max(len(left), half) + 1


def _clipped(words: str, most: int) -> str:
    words = " ".join(words.split())
    return words if len(words) <= most else words[: most - 1] + "…"


def small_of(recording: Recording) -> Drawing:
    """Two seconds of what is told from a distance: lead II, or the first channel."""
    drawing = Drawing(50.0, 50.0, "")
    grid = Grid(0.0, 0.0, 50.0, 50.0)
    drawing.parts.append(grid)
    group = recording.groups[0]
    at = next((at for at, each in enumerate(group.channels) if lead_of(each) == "II"), 0)
    times, values = _times(group, min(_seconds(group), 2.0 if group.rate_hz > 20 else math.inf))
    if not len(times):
        return drawing
    y = values[at]
    good = y[np.isfinite(y)]
    low, high = (float(good.min()), float(good.max())) if len(good) else (0.0, 0.0)
    span = high - low if 0 < high - low < math.inf else 1.0
    x = 2 + times * (46 / max(float(times[-1]), 1e-9))
    points = runs(*thinned(x, np.clip(40 - (y - low) / span * 30, 0, 50), 4 * FINENESS))
    drawing.parts += [Trace(piece, 0.8) for piece in points]
    return drawing


# -- one group ----------------------------------------------------------------------------------
def _block(parts: list[Part], group: Group, y: float) -> float:
    """A heading, the paper, the traces, and below them how to read them."""
    leads = {lead: at for at, channel in enumerate(group.channels) if (lead := lead_of(channel))}
    electric = all(channel.unit in MILLIVOLTS for channel in group.channels)
    if electric and len(leads) == len(LEADS):
        return _twelve(parts, group, leads, y)
    return _stacked(parts, group, y, electric)


def _seconds(group: Group) -> float:
    """How much of it is drawn: ten seconds, more of what is sampled slowly."""
    wanted = max(STRIP / SPEED, 250 / group.rate_hz)
    return min(wanted, group.seconds, MOST_SAMPLES / len(group.channels) / group.rate_hz)


def _times(group: Group, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(samples' times in s, (channels, samples) values) of the first seconds."""
    values = group.values(0, int(seconds * group.rate_hz) + 1)
    return np.arange(values.shape[1]) / group.rate_hz, values


def _in_millivolts(group: Group, values: NDArray[np.float64]) -> NDArray[np.float64]:
    factors = [MILLIVOLTS[channel.unit] for channel in group.channels]
    return np.asarray(values * np.array(factors)[:, np.newaxis], np.float64)


def _middle(values: NDArray[np.float64]) -> float:
    """How far a trace is to be moved to be seen: 0 when it lies about zero."""
    good = values[np.isfinite(values)]
    middle = float(np.median(good)) if len(good) else 0.0
    return middle if abs(middle) > FAR_MV else 0.0


def _twelve(parts: list[Part], group: Group, leads: dict[str, int], y: float) -> float:
    """Three rows of four leads, each a quarter of the time, and lead II for all of it."""
    seconds = min(STRIP / SPEED, _seconds(group))
    times, raw = _times(group, seconds)
    values = _in_millivolts(group, raw)
    gain = _gain(values)
    column = STRIP / 4
    together = seconds * SPEED <= column  # short enough for every lead to show all of it
    y = _heading(parts, group, y)
    rows = 3 if together else 4
    height = ROW * rows + 10
    grid = Grid(MARGIN, y, PULSE + STRIP, height)
    parts.append(grid)
    left = MARGIN + PULSE
    for at, lead in enumerate(LEADS):
        middle = y + 5 + ROW * (at % 3 + 0.5)
        x = left + column * (at // 3)
        begin = 0.0 if together else seconds / 4 * (at // 3)
        wanted = (times >= begin) & (times <= begin + column / SPEED)
        trace = values[leads[lead]][wanted]
        parts += _trace(grid, x, middle, times[wanted] - begin, trace, lead, SPEED, gain)
        if at > 2:
            parts.append(Trace(np.array([(x, middle + 5.0), (x, middle + 8.0)]), 0.4))
    for row in range(rows):
        parts.append(_pulse(y + 5 + ROW * (row + 0.5), gain))
    if not together:
        middle = y + 5 + ROW * 3.5
        parts += _trace(grid, left, middle, times, values[leads["II"]], "II", SPEED, gain)
    y += height
    parts += _ruler(left, y, seconds, SPEED)
    return _foot(parts, group, y + 4, seconds, SPEED, f"{gain:g} mm/mV")


def _gain(values: NDArray[np.float64]) -> float:
    """10 mm/mV, or 5 or 2.5 for traces that would run into each other (mV)."""
    good = values[np.isfinite(values)]
    reach = float(np.quantile(np.abs(good), 0.995)) if len(good) else 0.0
    return GAIN if reach <= 2.2 else GAIN / 2 if reach <= 4.5 else GAIN / 4


def _trace(
    grid: Grid,
    x: float,
    middle: float,
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    label: str,
    speed: float,
    gain: float,
) -> Iterator[Part]:
    """A label and a curve; what would leave the paper runs along its edge."""
    moved = _middle(values)
    note = f" ({-moved:+.1f} mV)" if moved else ""
    yield Text(x + 1, middle - 8.5, label + note, 3.2, bold=True)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.clip(middle - (values - moved) * gain, grid.y, grid.y + grid.height)
    for piece in runs(*thinned(x + times * speed, y, FINENESS)):
        yield Trace(piece)


def _pulse(middle: float, gain: float) -> Trace:
    """1 mV for 0.2 s."""
    top, x = middle - gain, MARGIN + 2
    corners = [(x, middle), (x + 1, middle), (x + 1, top), (x + 6, top), (x + 6, middle)]
    return Trace(np.array([*corners, (x + 7, middle)]))


def _stacked(parts: list[Part], group: Group, y: float, electric: bool) -> float:
    """Every channel a row of its own, in mV where they are voltages, else each to its own scale."""
    seconds = _seconds(group)
    speed = SPEED if seconds <= STRIP / SPEED else STRIP / seconds
    times, values = _times(group, seconds)
    channels = group.channels[:ROWS_DRAWN]
    y = _heading(parts, group, y)
    grid = Grid(MARGIN, y, PULSE + STRIP, ROW * len(channels) + 5)
    parts.append(grid)
    gain, left = 0.0, MARGIN + PULSE
    if electric:
        values = _in_millivolts(group, values)
        gain = _gain(values - np.array([[_middle(each)] for each in values]))
        electric = bool(np.nanmax(np.abs(values), initial=0.0) * gain > 2)  # else: far too small
    for at, channel in enumerate(channels):
        middle = y + 2.5 + ROW * (at + 0.5)
        name = channel.label or f"Channel {at + 1}"
        if electric:
            parts.append(_pulse(middle, gain))
            parts += _trace(grid, left, middle, times, values[at], name, speed, gain)
        else:
            unit = "mV" if gain else channel.unit
            parts += _scaled(left, middle, times, values[at], f"{name} [{unit or '?'}]", speed)
    y += grid.height
    parts += _ruler(left, y, seconds, speed)
    scale = f"{gain:g} mm/mV" if electric else "each channel to its own scale"
    if len(group.channels) > len(channels):
        scale += f", {len(group.channels) - len(channels)} more channels are not drawn"
    return _foot(parts, group, y + 4, seconds, speed, scale)


def _scaled(
    x: float,
    middle: float,
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    label: str,
    speed: float,
) -> Iterator[Part]:
    """A curve that fills its row, with the values of the row's lower and upper edge."""
    good = values[np.isfinite(values)]
    low, high = (float(good.min()), float(good.max())) if len(good) else (0.0, 0.0)
    half = ROW * 0.38
    yield Text(x + 1, middle - half - 1, label, 3.2, bold=True)
    yield Text(x - 1, middle - half + 1, f"{high:.4g}", 2.6, "end", colour=SOFT)
    yield Text(x - 1, middle + half + 1, f"{low:.4g}", 2.6, "end", colour=SOFT)
    span = high - low
    if not math.isfinite(span) or span <= 0:
        y = np.where(np.isfinite(values), middle, np.nan)
    else:
        y = middle + half - (values - low) / span * 2 * half
    for piece in runs(*thinned(x + times * speed, y, FINENESS)):
        yield Trace(piece)


# -- words around it --------------------------------------------------------------------------
def _heading(parts: list[Part], group: Group, y: float) -> float:
    if not group.label:
        return y
    parts.append(Text(MARGIN, y + 3, _clipped(group.label, 100), 3.6, bold=True))
    return y + 5


def _ruler(left: float, y: float, seconds: float, speed: float) -> Iterator[Part]:
    """The time below the paper."""
    step = next((s for s in (0.2, 1, 2, 5, 10, 60, 600, 3600) if s * speed >= 10), seconds or 1)
    for at in range(min(int(seconds / step + 1e-9), 60) + 1):
        yield Text(left + at * step * speed, y + 3, f"{at * step:g} s", 2.6, "middle", colour=SOFT)


def _foot(
    parts: list[Part], group: Group, y: float, seconds: float, speed: float, scale: str
) -> float:
    written = [f"{speed:.3g} mm/s", scale, *_filters(group.channels)]
    written.append(f"{wording.number(group.rate_hz)} Hz")
    drawn = seconds - 1e-6 <= group.seconds <= seconds + 1e-6
    if not drawn:
        written.append(f"the first {seconds:.3g} s of {_clock(group.seconds)}")
    parts.append(Text(MARGIN, y + 3.5, ", ".join(written), 3.0, colour=SOFT))
    return y + 5


def _filters(channels: Sequence[Channel]) -> Iterator[str]:
    bands = {(each.low_hz, each.high_hz) for each in channels}
    notches = {each.notch_hz for each in channels}
    if len(bands) == 1 and (band := bands.pop()) != (None, None):
        yield "-".join("" if hz is None else f"{hz:g}" for hz in band) + " Hz"
    if len(notches) == 1 and (notch := notches.pop()):
        yield f"notch {notch:g} Hz"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.4g} s"
    whole = int(min(seconds, 1e9))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
