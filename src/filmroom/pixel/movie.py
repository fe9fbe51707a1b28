"""Frames as an MP4 (H.264) that browsers play; needs PyAV, the extra `video`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from filmroom.pixel.errors import BadParameter, NoCodec
from filmroom.pixel.numeric import np

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Bytes

MISSING = "video/mp4 needs the extra `video` (pip install 'filmroom[video]'), which is not here"
TICKS = 90_000  # a second has
LARGEST_SIDE = 4096  # of what H.264 decoders are sure to take
LEAST_MS, MOST_MS = 1.0, 60_000.0


@lru_cache(maxsize=1)
def can_make_movies() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def mp4(pictures: Iterable[Bytes], frame_time_ms: float, quality: int) -> bytes:
    """Frames of one size, grey or RGB, each shown for that time.

    quality: 1 to 100, as for JPEG; an odd last row or column is doubled, since chroma is
    halved. Raises NoCodec without PyAV.
    """
    if not can_make_movies():
        raise NoCodec(MISSING)
    import av

    step = round(min(max(frame_time_ms, LEAST_MS), MOST_MS) * TICKS / 1000)
    # The index is moved to the front at the end, for which the muxer opens its file once more.
    with os.fdopen(os.memfd_create("movie"), "w+b") as file:
        path = f"/proc/self/fd/{file.fileno()}"
        with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
            _fill(container, pictures, step, quality)
        file.seek(0)
        return file.read()


def _fill(container: Any, pictures: Iterable[Bytes], step: int, quality: int) -> None:
    import av

    stream: Any = None
    for number, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(_even(pixels), format="rgb24")
        if stream is None:
            stream = _stream(container, frame, step, quality)
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = number * step, Fraction(1, TICKS)
        for packet in stream.encode(frame):
            packet.duration = step
            container.mux(packet)
    if stream is None:
        raise BadParameter("there is no frame to render")
    for packet in stream.encode():
        packet.duration = step
        container.mux(packet)


def _stream(container: Any, frame: Any, step: int, quality: int) -> Any:
    if max(frame.width, frame.height) > LARGEST_SIDE:
        raise BadParameter(
            f"a video may be {LARGEST_SIDE} pixels wide and high, ask for a viewport"
        )
    # x264's scale: 0 is without loss, 51 the worst; 90 becomes 16.
    crf = round(51 - quality * 0.39)
    options = {"crf": str(crf), "preset": "veryfast", "bf": "0"}
    stream = container.add_stream("h264", rate=Fraction(TICKS, step), options=options)
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.thread_count = 1
    stream.codec_context.color_range = 1  # limited, the one that all players know
    stream.codec_context.colorspace = 1  # BT.709, as is said to the conversion
    stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
    return stream


def _even(pixels: Bytes) -> Bytes:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    rows, columns = pixels.shape[:2]
    padded = np.pad(pixels, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded)
