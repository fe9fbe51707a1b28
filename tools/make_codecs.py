"""Write docs/reference/codecs.md: which pixels are decoded and encoded in which transfer syntax.

    python tools/make_codecs.py           write it
    python tools/make_codecs.py --check   exit status 1 when it is out of date

Each cell asks the codecs themselves (`unreadable`, `capacity`, `refusal`), and
tests/unit/pixel/test_codecs_matrix.py tries every one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from make_conformance import table

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import ImageShape, Loss, capacity, refusal, unreadable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "codecs.md"
ROWS, COLUMNS = 21, 26
HEAD = """# Codecs

Which pixels filmroom decodes and encodes in which transfer syntax. **both**: decoded and encoded;
*decoded*: decoded only; a dash: neither. The numbers lead to the reasons at the end. Rows are Bits
Stored of Bits Allocated; colours by plane are Planar Configuration 1, which matters uncompressed
only (what we write is by pixel). Signed colour is rare and behaves like signed grey.

Without a loss being wished for, frames are coded exactly wherever the syntax can be; only JPEG
Baseline and Extended cannot. Every lossless cell comes back bit for bit: a test tries each in both
directions. What is decoded is compared with what dcmtk, gdcm and others make of it. HTJ2K of 32
bits is read by nobody else that was tried.

Not decoded: pictures with 12 bits packed into three bytes, two samples per pixel, JPEG 2000 Part 2
with several frames in one codestream, JPIP, and video (MPEG-2, H.264, HEVC), which is kept and
given as it came.

This page is written by `tools/make_codecs.py`; a test compares the two.
"""
KINDS = (
    ("grey", 1, "MONOCHROME2", 0),
    ("palette", 1, "PALETTE COLOR", 0),
    ("RGB", 3, "RGB", 0),
    ("RGB by plane", 3, "RGB", 1),
    ("YBR_FULL", 3, "YBR_FULL", 0),
    ("YBR_FULL by plane", 3, "YBR_FULL", 1),
    ("YBR_FULL_422", 3, "YBR_FULL_422", 0),
)
DEPTHS = ((1, 1), (8, 8), (16, 10), (16, 12), (16, 14), (16, 16), (32, 16), (32, 24), (32, 32))
FLOATS = (32, 64)
LAID_OUT = ts.NATIVE | {ts.DEFLATED_FRAME}  # where Planar Configuration says how samples lie
HALVED = LAID_OUT | ts.JPEG_DCT  # where chroma may be there for every other pixel
SECTIONS: tuple[tuple[str, str, Loss | None], ...] = (
    ("Implicit VR Little Endian", ts.IMPLICIT_LE, None),
    ("Explicit VR Little Endian", ts.EXPLICIT_LE, None),
    ("Deflated Explicit VR Little Endian", ts.DEFLATED_LE, None),
    ("Explicit VR Big Endian", ts.EXPLICIT_BE, None),
    ("Deflated Image Frame Compression", ts.DEFLATED_FRAME, None),
    ("RLE Lossless", ts.RLE, None),
    ("JPEG Baseline (Process 1)", ts.JPEG_BASELINE, Loss(quality=90)),
    ("JPEG Extended (Process 2 & 4)", ts.JPEG_EXTENDED, Loss(quality=90)),
    ("JPEG Lossless (Process 14)", ts.JPEG_LOSSLESS, None),
    ("JPEG Lossless (Process 14, Selection Value 1)", ts.JPEG_LOSSLESS_SV1, None),
    ("JPEG-LS Lossless", ts.JPEG_LS_LOSSLESS, None),
    ("JPEG-LS Near-Lossless, exact", ts.JPEG_LS_NEAR, None),
    ("JPEG-LS Near-Lossless, with a loss", ts.JPEG_LS_NEAR, Loss(near=2)),
    ("JPEG 2000 Lossless Only", ts.J2K_LOSSLESS, None),
    ("JPEG 2000, exact", ts.J2K, None),
    ("JPEG 2000, with a loss", ts.J2K, Loss(psnr=50)),
    ("JPEG 2000 Part 2 Multi-component Lossless Only", ts.J2K_COMPONENTS_LOSSLESS, None),
    ("JPEG 2000 Part 2 Multi-component", ts.J2K_COMPONENTS, None),
    ("HTJ2K Lossless Only", ts.HTJ2K_LOSSLESS, None),
    ("HTJ2K Lossless RPCL", ts.HTJ2K_LOSSLESS_RPCL, None),
    ("HTJ2K, exact", ts.HTJ2K, None),
    ("HTJ2K, with a loss", ts.HTJ2K, Loss(psnr=50)),
    ("JPEG XL Lossless", ts.JPEG_XL_LOSSLESS, None),
    ("JPEG XL JPEG Recompression", ts.JPEG_XL_RECOMPRESSION, None),
    ("JPEG XL, exact", ts.JPEG_XL, None),
    ("JPEG XL, with a loss", ts.JPEG_XL, Loss(quality=90)),
)


@dataclass(frozen=True)
class Cell:
    """One entry: `no_decoding`, `no_encoding` are the reasons, None where it is done.

    impossible: no codestream holds so many bits.
    """

    depth: str
    kind: str
    shape: ImageShape
    no_decoding: str | None
    no_encoding: str | None
    impossible: bool

    @property
    def text(self) -> str:
        """What the page says, but for the numbers of the reasons."""
        if self.no_decoding:
            return "–"
        return "*decoded*" if self.no_encoding else "**both**"


def cells(syntax: str, loss: Loss | None) -> Iterator[Cell]:
    """Every entry of one section, row by row. Combinations that DICOM has not are left out."""
    for depth, allocated, stored, signed, floating in _depths():
        for kind, samples, photometric, planar in KINDS:
            palette = photometric == "PALETTE COLOR"
            odd = (allocated == 1 or floating or signed) and kind != "grey"
            if odd or (palette and stored not in (8, 16)) or (palette and allocated == 32):
                continue
            if (planar and syntax not in LAID_OUT) or ("422" in kind and syntax not in HALVED):
                continue
            shape = ImageShape(
                ROWS, COLUMNS, samples, allocated, stored, signed, photometric, planar,
                floating=floating,
            )  # fmt: skip
            most = capacity(syntax)
            too_deep = f"it holds up to {most} bits" if stored > most else None
            yield Cell(
                depth, kind, shape, unreadable(syntax, shape) or too_deep,
                refusal(syntax, shape, loss), too_deep is not None,
            )  # fmt: skip


def _depths() -> Iterator[tuple[str, int, int, int, bool]]:
    for allocated, stored in DEPTHS:
        for signed in (0, 1) if allocated > 1 else (0,):
            words = f"{stored} of {allocated}" + (", signed" if signed else "")
            yield words, allocated, stored, signed, False
    for bits in FLOATS:
        yield f"floating point, {bits}", bits, bits, 0, True


def page() -> str:
    """The whole page."""
    reasons: dict[str, int] = {}
    lines = [HEAD]
    for name, syntax, loss in SECTIONS:
        wished = {"near": loss.near, "quality": loss.quality, "psnr": loss.psnr} if loss else {}
        said = ", ".join(f"{key} {value:g}" for key, value in wished.items() if value is not None)
        lines += [f"## {name}", "", f"`{syntax}`" + (f", tried with {said}" if said else ""), ""]
        lines += table(["depth", *(kind[0] for kind in KINDS)], _rows(syntax, loss, reasons))
    lines += ["## Reasons", "", *(f"{n}. {_sentence(why)}" for why, n in reasons.items())]
    return "\n".join(lines).rstrip() + "\n"


def _sentence(reason: str) -> str:
    return reason[0].upper() + reason[1:] + "."


def _rows(syntax: str, loss: Loss | None, reasons: dict[str, int]) -> Iterator[list[str]]:
    rows: dict[str, dict[str, str]] = {}
    for cell in cells(syntax, loss):
        why = cell.no_decoding or cell.no_encoding
        number = f" {reasons.setdefault(why, len(reasons) + 1)}" if why else ""
        rows.setdefault(cell.depth, {})[cell.kind] = cell.text + number
    for depth, found in rows.items():
        yield [depth, *(found.get(kind[0], "") for kind in KINDS)]


def main() -> int:
    """Write the page, or with --check compare it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text("utf-8") != page():
        print(f"{PAGE.name} is out of date: run python tools/make_codecs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
