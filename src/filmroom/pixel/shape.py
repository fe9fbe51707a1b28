"""What one frame looks like, and how much of it we are willing to hold (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.pixel.errors import TooLarge, Undecodable

MAX_FRAME_BYTES = 1 << 30  # of one decoded frame
FREE_OF_RATIO_BYTES = 64 << 20  # below this a frame may be as well compressed as it likes
MAX_RATIO = 2000  # decoded to coded, for larger ones

INTEGER_BITS = frozenset({1, 8, 16, 32})
FLOAT_BITS = frozenset({32, 64})


@dataclass(frozen=True, slots=True)
class ImageShape:
    """The Image Pixel attributes that say how a frame is coded.

    samples: Samples per Pixel; photometric: Photometric Interpretation; planar: Planar
    Configuration. high_bit None means bits_stored - 1. floating: the pixels are in Float
    or Double Float Pixel Data. pixel_vr matters only for 8-bit OW in big endian.
    """

    rows: int
    columns: int
    samples: int = 1
    bits_allocated: int = 16
    bits_stored: int = 16
    pixel_representation: int = 0
    photometric: str = "MONOCHROME2"
    planar: int = 0
    high_bit: int | None = None
    floating: bool = False
    pixel_vr: str = "OW"

    @property
    def signed(self) -> bool:
        """Two's complement samples (PS3.3 C.7.6.3.1.1 Pixel Representation)."""
        return self.pixel_representation == 1

    @property
    def bits(self) -> int:
        """Bits Stored where it makes sense, else Bits Allocated."""
        sensible = 0 < self.bits_stored <= self.bits_allocated
        return self.bits_stored if sensible else self.bits_allocated

    @property
    def subsampled(self) -> bool:
        """Native 4:2:2 chroma: two pixels share one pair of chroma samples."""
        return self.samples == 3 and self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")

    @property
    def sample_bytes(self) -> int:
        """Bytes of one decoded sample in memory (1-bit pixels take one byte)."""
        return max(self.bits_allocated, 8) // 8

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the whole frame in memory, all samples at full resolution."""
        return self.rows * self.columns * self.samples * self.sample_bytes

    @property
    def native_bits(self) -> int:
        """Bits of the frame as Explicit VR Little Endian stores it (PS3.5 8.1.1, 8.2)."""
        samples = 2 if self.subsampled else self.samples
        return self.rows * self.columns * samples * self.bits_allocated


def check(shape: ImageShape, coded_bytes: int) -> None:
    """Refuse a frame that cannot be or must not be decoded; before anything is allocated.

    coded_bytes: length of the frame as stored. Raises Undecodable or TooLarge.
    """
    if not (0 < shape.rows <= 65535 and 0 < shape.columns <= 65535):
        raise Undecodable(f"an image of {shape.rows} x {shape.columns} pixels cannot be decoded")
    if shape.samples not in (1, 3, 4):
        raise Undecodable(f"{shape.samples} samples per pixel cannot be decoded")
    if shape.bits_allocated not in (FLOAT_BITS if shape.floating else INTEGER_BITS):
        raise Undecodable(f"{shape.bits_allocated} bits allocated cannot be decoded")
    if shape.bits_allocated == 1 and shape.samples != 1:
        raise Undecodable("1-bit pixels must have one sample")
    size = shape.decoded_bytes
    if size > MAX_FRAME_BYTES:
        raise TooLarge(f"a frame of {size} bytes is more than the {MAX_FRAME_BYTES} allowed")
    if size > FREE_OF_RATIO_BYTES and size > coded_bytes * MAX_RATIO:
        raise TooLarge(f"{coded_bytes} bytes claim to be a frame of {size}")
