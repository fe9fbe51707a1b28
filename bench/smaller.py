"""How much smaller real images are stored, and what that costs in processor time.

nice python bench/smaller.py     prints a table; a few minutes

Images: the uncompressed CT, MR and CR files of pydicom-data. Each is stored, and stored smaller in
each form by the very code that a node runs, but for the worker processes. MB/s are of pixels as
received by the processor time of this process; `whole` is the way there with everything that is
checked (read, encode, try, write, make again, compare), without the disk's waiting.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import data_store
import pydicom

from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.ingest import Ingest
from filmroom.archive.records import Handle, Origin
from filmroom.archive.smaller import LeftAlone, Shrinker
from filmroom.asgi.app import SystemClock
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.index.queries import SqlIndex, open_index
from filmroom.pixel.transcode import transcode_frame

FORMS = {
    "HTJ2K": "1.2.840.10008.1.2.4.202",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
IMAGES = {
    "CT": ("693_UNCR.dcm", "eCT_Supplemental.dcm"),
    "MR": ("MR2_UNCR.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"),
    "CR": ("RG1_UNCR.dcm", "RG3_UNCR.dcm"),
}
TIMES = 5


class Inline:
    """Works here, and adds up the processor time of each kind of work."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    async def run(self, function, /, *args, **kwargs):
        begun = time.process_time()
        made = function(*args, **kwargs)
        self.seconds[_kind(args)] += time.process_time() - begun
        return made


def _kind(args) -> str:
    if len(args) > 2 and args[1] in FORMS.values():
        return "decode"
    return "encode" if len(args) > 2 and isinstance(args[0], bytes) else "plan"


async def _stored(index: SqlIndex, blobs: FilesystemBlobs, committer: Committer, file: bytes):
    intake = Ingest(blobs, committer, SystemClock()).open_file(Origin("import"))
    intake.write(file)
    handle = index.instance((await intake.commit()).sop_instance_uid)
    assert handle is not None
    return handle


async def _measured(blobs: FilesystemBlobs, handle: Handle, form: str) -> tuple[int, list[float]]:
    """(bytes stored, [MB/s of encoding, of decoding, of the whole]) the best of a few."""
    best = [0.0, 0.0, 0.0]
    size = 0
    for _ in range(TIMES):
        pool = Inline()
        begun = time.process_time()
        made = await Shrinker(blobs, pool, transcode_frame).smaller(handle, FORMS[form])
        whole = time.process_time() - begun
        made.staged.discard()
        size = made.location.size_bytes
        pixels = (handle.location.size_bytes - handle.location.header_bytes) / 1e6
        frames = _frames(handle)
        if frames > 1:  # the first is decoded twice
            pool.seconds["decode"] *= frames / (frames + 1)
        spent = (pool.seconds["encode"], pool.seconds["decode"], whole)
        best = [max(b, pixels / s) for b, s in zip(best, spent, strict=True)]
    return size, best


def _frames(handle: Handle) -> int:
    return int.from_bytes(handle.frames[1:5], "little")


async def main() -> None:
    found = {path.name: path for path in Path(data_store.__file__).parent.rglob("*.dcm")}
    print("| image | form | received | stored | ratio | encode | decode | whole |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        index = open_index(f"sqlite:///{folder}/index.sqlite")
        blobs = FilesystemBlobs(Path(folder))
        committer = Committer(index, blobs, Duplicates.KEEP_FIRST, quarantine_max_bytes=0)
        committer.start()
        for modality, names in IMAGES.items():
            for name in names:
                content = found[name].read_bytes()
                ds = pydicom.dcmread(io.BytesIO(content))
                handle = await _stored(index, blobs, committer, content)
                signed = "s" if ds.PixelRepresentation else "u"
                what = f"{modality} {name.removesuffix('.dcm')} {signed}{ds.BitsStored}"
                for form in FORMS:
                    try:
                        size, speeds = await _measured(blobs, handle, form)
                    except LeftAlone as error:
                        print(f"| {what} | {form} | left alone: {error} |")
                        continue
                    came = handle.location.size_bytes
                    told = " | ".join(f"{speed:.0f}" for speed in speeds)
                    print(f"| {what} | {form} | {came:,} | {size:,} | {came / size:.2f} | {told} |")
        committer.stop()
        index.close()
        blobs.close()


if __name__ == "__main__":
    asyncio.run(main())
