"""The rendering of /rendered alone: CT to JPEG, with no server around it. See limits.py.

    python bench/pictures.py FILE...

Says that it is ready, waits for a line, renders each file once with the code of the pixel workers.
"""

from __future__ import annotations

import os
import sys

import pydicom

from filmroom.pixel.options import parse_options
from filmroom.pixel.picture import picture_of
from filmroom.pixel.render import Lying, render_from


def main() -> None:
    options = parse_options({}, "image/jpeg", thumbnail=False)
    paths = sys.argv[1:]
    ds = pydicom.dcmread(paths[0])
    picture, syntax = picture_of(ds.to_json_dict(), 0), str(ds.file_meta.TransferSyntaxUID)
    length = len(ds.PixelData)

    def render(path: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        lying = Lying(((os.fstat(fd).st_size - length, length),), picture)  # pixel data come last
        render_from(fd, [lying], syntax, options)
        os.close(fd)

    render(paths[0])
    print("ready", flush=True)
    sys.stdin.readline()
    for path in paths:
        render(path)


if __name__ == "__main__":
    main()
