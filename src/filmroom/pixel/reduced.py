"""Frames decoded to a half, a quarter or an eighth of their size, by Pillow.

imagecodecs gives OpenJPEG's resolution levels and libjpeg's scaled DCT to nobody, Pillow
does. The components stay as coded here too: no colour is converted.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from filmroom.pixel.codestream import Codestream
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.numeric import np

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

DCT_LEVELS = 3  # libjpeg scales blocks of 8 to 4, 2 and 1


def part(length: int, levels: int) -> int:
    """A length after it was halved so often, upwards (ITU T.800 B-15)."""
    return -(-length >> levels)


def read_scaled_jpeg(coded: bytes, said: Codestream, levels: int) -> Array:
    """A baseline JPEG at a 2**levels-th of its size, 1 <= levels <= 3. Raises Undecodable."""
    from PIL import JpegImagePlugin

    size = part(said.columns, levels), part(said.rows, levels)
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(coded))
        image.draft("RGB" if said.is_rgb else "YCbCr", None)
        # Its own scaling rounds sizes down, libjpeg rounds them up.
        image._size = size
        image.tile = [image.tile[0]._replace(extents=(0, 0, *size))]
        image.decoderconfig = (1 << levels, 0)
        image.load()
    except (OSError, SyntaxError, ValueError, IndexError, KeyError) as error:
        raise Undecodable(f"the decoder refused this frame: {type(error).__name__}") from error
    return np.asarray(image)


def read_reduced_j2k(coded: bytes, said: Codestream, levels: int) -> Array:
    """A JPEG 2000 frame without its `levels` finest resolutions, as 8 or 16 bits.

    Pillow shifts samples up to the width of its cells and makes them unsigned; both is
    undone. Raises Undecodable.
    """
    from PIL import Jpeg2KImagePlugin

    size = part(said.columns, levels), part(said.rows, levels)
    try:
        image = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(coded))
        if image.mode != ("RGB" if said.samples == 3 else "L" if said.precision <= 8 else "I;16"):
            raise Undecodable(f"decoded to {image.mode}")
        tile = image.tile[0]
        codec, _, layers, *rest = tuple(tile.args or ())
        # Its own `reduce` rounds sizes to the nearest; codestreams round them up.
        image._size = size
        image.tile = [tile._replace(extents=(0, 0, *size), args=(codec, levels, layers, *rest))]
        image.load()
    except (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError) as error:
        raise Undecodable(f"the decoder refused this frame: {type(error).__name__}") from error
    cells = np.asarray(image)
    values = cells >> (cells.dtype.itemsize * 8 - said.precision)
    if not said.signed:
        return np.asarray(values)
    signed = values.astype(np.int32) - (1 << (said.precision - 1))
    return signed.astype(f"i{cells.dtype.itemsize}")
