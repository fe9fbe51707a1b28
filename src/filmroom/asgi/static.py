"""The built front-end and OHIF, served as they lie: mostly already compressed.

The folders are walked once at start, and a request is looked up in what was found: no
path from outside ever reaches the file system.
"""

from __future__ import annotations

import asyncio
import gzip
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from starlette.types import Receive, Scope, Send

from filmroom.asgi.compress import is_gzip_welcome

FOREVER = b"public, max-age=31536000, immutable"
ASK_AGAIN = b"no-cache"
PIECE_BYTES = 256 * 1024
# A name that carries a digest of its content never means anything else.
_DIGEST = re.compile(r"[.-][0-9A-Za-z_-]{8,}\.[a-z0-9]+$|^[0-9a-f]{16,}\.[a-z0-9]+$")
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain, compressed, or both."""

    plain: Path | None
    zipped: Path | None
    media_type: bytes
    cache_control: bytes
    etag: bytes

    def open(self, *, zipped: bool = False) -> tuple[BinaryIO, int]:
        """A file of its bytes (as compressed ones if `zipped`), and how many. Blocks."""
        path = self.zipped if zipped or self.plain is None else self.plain
        assert path is not None
        size = path.stat().st_size
        if zipped or self.plain is not None:
            return path.open("rb"), size
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            size = int.from_bytes(file.read(4), "little")  # ISIZE (RFC 1952 2.3.1)
        return cast(BinaryIO, gzip.open(path, "rb")), size


class Shelf:
    """The assets of one folder, by their path below it."""

    def __init__(self, folder: Path) -> None:
        self._assets = dict(_walk(folder))

    def get(self, name: str) -> Asset | None:
        """The asset of that name."""
        return self._assets.get(name)

    def names(self) -> list[str]:
        """Every name there is."""
        return list(self._assets)

    def page(self) -> str:
        """index.html as text; empty if there is none. Blocks."""
        asset = self.get("index.html")
        if asset is None:
            return ""
        file, _ = asset.open()
        with file:
            return file.read().decode("utf-8", "replace")


def _walk(folder: Path) -> Iterator[tuple[str, Asset]]:
    names = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    for name in sorted({name.removesuffix(".gz") for name in names}):
        if any(part.startswith(".") for part in name.split("/")):
            continue
        plain, zipped = names.get(name), names.get(f"{name}.gz")
        there = plain or zipped
        assert there is not None
        found = there.stat()
        suffix = Path(name).suffix
        kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        hashed = suffix != ".html" and _DIGEST.search(Path(name).name) is not None
        yield (
            name,
            Asset(
                plain,
                zipped,
                kind.encode(),
                FOREVER if hashed else ASK_AGAIN,
                f'W/"{found.st_mtime_ns:x}-{found.st_size:x}"'.encode(),
            ),
        )


async def serve(asset: Asset, scope: Scope, send: Send) -> None:
    """Answer with an asset, compressed if it is and the client takes that."""
    headers = [
        (b"content-type", asset.media_type),
        (b"cache-control", asset.cache_control),
        (b"etag", asset.etag),
        (b"vary", b"Accept-Encoding"),
    ]
    known = dict(scope["headers"]).get(b"if-none-match", b"")
    if asset.etag in [tag.strip() for tag in known.split(b",")]:
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    zipped = asset.zipped is not None and is_gzip_welcome(scope)
    if zipped:
        headers.append((b"content-encoding", b"gzip"))
    file, left = await asyncio.to_thread(asset.open, zipped=zipped)
    with file:
        headers.append((b"content-length", str(left).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # In pieces: a client that reads slowly shall not hold all of it in our memory.
        while scope["method"] != "HEAD" and left > PIECE_BYTES:
            piece = await asyncio.to_thread(file.read, PIECE_BYTES)
            left -= len(piece) or left
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        last = b"" if scope["method"] == "HEAD" else await asyncio.to_thread(file.read, left)
        await send({"type": "http.response.body", "body": last})


class Served:
    """A response that is an asset, for Starlette's routes."""

    def __init__(self, asset: Asset) -> None:
        self._asset = asset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve(self._asset, scope, send)
