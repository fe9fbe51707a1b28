"""What a client may ask of a rendering, parsed and checked (PS3.18 8.3.5, 9.1.2). Pure text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from filmroom.pixel.errors import BadParameter
from filmroom.pixel.lut import Window

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"
MP4 = "video/mp4"
MEDIA_TYPES = (JPEG, PNG, GIF, WEBP)  # of single images; GIF may also move
MOVING = frozenset({GIF, MP4})
LARGEST_SIDE = 10_000  # of what is asked for, in pixels
LARGEST_AREA = 64_000_000
THUMBNAIL_SIDE = 128
DEFAULT_QUALITY = 90

WINDOW_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
ICC_PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb", "displayp3")
ANNOTATIONS = ("patient", "technique")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Viewport:
    """Size of the rendered image, and the part of the source it shows, in source pixels.

    source_*: None for the default: the whole image. A negative width or height flips the
    image horizontally or vertically (PS3.18 8.3.5.1.3).
    """

    width: int
    height: int
    source_x: float | None = None
    source_y: float | None = None
    source_width: float | None = None
    source_height: float | None = None


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """A whole request.

    region: left, top, right, bottom as fractions of the image (PS3.18 9.1.2.4.3.3 region).
    annotation: which of ANNOTATIONS are burnt in. profile: one of ICC_PROFILES.
    """

    media_type: str = JPEG
    window: Window | None = None
    viewport: Viewport | None = None
    region: tuple[float, float, float, float] | None = None
    quality: int = DEFAULT_QUALITY
    annotation: tuple[str, ...] = ()
    profile: str = "no"


def parse_options(
    params: Mapping[str, str], media_type: str, *, thumbnail: bool = False
) -> RenderOptions:
    """Read the query parameters of a rendered resource; those it does not know are ignored.

    WADO-URI's windowCenter, windowWidth, rows, columns, region and imageQuality are
    understood as well. A thumbnail takes a viewport only. Raises BadParameter.
    """
    viewport = _viewport(params)
    annotation = _annotation(params)
    if thumbnail:
        if annotation:
            raise BadParameter("annotation: a thumbnail is too small to be written on")
        default = Viewport(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return RenderOptions(media_type, viewport=viewport or default)
    return RenderOptions(
        media_type,
        window=_window(params),
        viewport=viewport,
        region=_region(params),
        quality=_quality(params),
        annotation=annotation,
        profile=_profile(params, media_type),
    )


def _annotation(params: Mapping[str, str]) -> tuple[str, ...]:
    words = {word.strip().lower() for word in params.get("annotation", "").split(",")} - {""}
    if not words.issubset(ANNOTATIONS):
        raise BadParameter(f"annotation must be of {', '.join(ANNOTATIONS)}")
    return tuple(word for word in ANNOTATIONS if word in words)


def _profile(params: Mapping[str, str], media_type: str) -> str:
    profile = params.get("iccprofile", "").strip().lower() or "no"
    if profile not in ICC_PROFILES:
        raise BadParameter(f"iccprofile must be one of {', '.join(ICC_PROFILES)}")
    if media_type in MOVING and profile not in ("no", "srgb"):
        raise BadParameter(f"iccprofile must be no or srgb: {media_type} can hold no profile")
    return profile


def _number(text: str, name: str) -> float:
    text = text.strip()
    if NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
        raise BadParameter(f"{name}: {text[:32]!r} is not a number")
    return float(text)


def _side(text: str, name: str) -> int:
    number = _number(text, name)
    if number != int(number) or not 1 <= number <= LARGEST_SIDE:
        raise BadParameter(f"{name} must be a whole number from 1 to {LARGEST_SIDE}")
    return int(number)


def _window(params: Mapping[str, str]) -> Window | None:
    if "window" in params:
        parts = params["window"].split(",")
        if len(parts) not in (2, 3):
            raise BadParameter("window must be center,width,function")
        function = parts[2].strip().lower() if len(parts) == 3 else "linear"
        if function not in WINDOW_FUNCTIONS:
            raise BadParameter(f"window function must be one of {', '.join(WINDOW_FUNCTIONS)}")
        center, width = _number(parts[0], "window"), _number(parts[1], "window")
        return _checked(Window(center, width, WINDOW_FUNCTIONS[function]))
    center_text, width_text = params.get("windowCenter"), params.get("windowWidth")
    if center_text is None and width_text is None:
        return None
    if center_text is None or width_text is None:
        raise BadParameter("windowCenter and windowWidth must be given together")
    return _checked(
        Window(_number(center_text, "windowCenter"), _number(width_text, "windowWidth"))
    )


def _checked(window: Window) -> Window:
    least = 1 if window.function == "LINEAR" else 0
    if window.width < least or (least == 0 and window.width == 0):
        raise BadParameter(
            "window width must be at least 1" if least else "window width must be more than 0"
        )
    return window


def _viewport(params: Mapping[str, str]) -> Viewport | None:
    text = params.get("viewport")
    if text is None:
        return _uri_size(params)
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise BadParameter("viewport must be width,height[,x,y,width,height]")
    width, height = _side(parts[0], "viewport width"), _side(parts[1], "viewport height")
    if width * height > LARGEST_AREA:
        raise BadParameter(f"a viewport may have at most {LARGEST_AREA} pixels")
    source = [_number(part, "viewport") if part else None for part in parts[2:]]
    source += [None] * (4 - len(source))
    if 0 in source[2:]:
        raise BadParameter("the viewport's source region is empty")
    return Viewport(width, height, *source)


def _uri_size(params: Mapping[str, str]) -> Viewport | None:
    rows, columns = params.get("rows"), params.get("columns")
    if rows is None and columns is None:
        return None
    height = _side(rows, "rows") if rows is not None else LARGEST_SIDE
    width = _side(columns, "columns") if columns is not None else LARGEST_SIDE
    # With one of them the image's shape says how many pixels there are: that is seen later.
    if rows is not None and columns is not None and width * height > LARGEST_AREA:
        raise BadParameter(f"rows and columns may make at most {LARGEST_AREA} pixels")
    return Viewport(width, height)


def _region(params: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    text = params.get("region")
    if text is None:
        return None
    parts = [_number(part, "region") for part in text.split(",")]
    if len(parts) != 4:
        raise BadParameter("region must be left,top,right,bottom")
    left, top, right, bottom = parts
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadParameter("region must lie within 0 and 1 and not be empty")
    return left, top, right, bottom


def _quality(params: Mapping[str, str]) -> int:
    text = params.get("quality", params.get("imageQuality"))
    if text is None:
        return DEFAULT_QUALITY
    number = _number(text, "quality")
    if number != int(number) or not 1 <= number <= 100:
        raise BadParameter("quality must be a whole number from 1 to 100")
    return int(number)
