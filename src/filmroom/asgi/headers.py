"""The headers that every answer carries, by kind of page (CSP, nosniff, framing, caching)."""

from __future__ import annotations

import base64
import hashlib
import re

Headers = list[tuple[bytes, bytes]]

_PAGE = (
    "default-src 'self'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "font-src 'self'",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "frame-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)
# OHIF compiles code at run time, builds workers from blobs and styles in place; it gets that,
# below its own path only.
_OHIF = (
    "default-src 'self'",
    "script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' blob:",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self' blob: data:",
    "worker-src 'self' blob:",
    "frame-src 'self' blob:",
    "object-src 'self' blob:",
    "media-src 'self' blob:",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)
# What is not a page must not become one. No default-src: it would blank the browser's own
# viewer when somebody opens an encapsulated PDF.
_DATA = (
    "script-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
)
_ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"x-frame-options", b"SAMEORIGIN"),
]
HSTS = (b"strict-transport-security", b"max-age=31536000")
DATA_PATHS = ("/api", "/dicom-web", "/wado", "/metrics", "/livez", "/readyz")
_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.S | re.I)


def inline_hashes(page: str) -> list[str]:
    """CSP sources for the inline scripts of a page (CSP Level 3, 6.7.3.3)."""
    sources = []
    for script in _INLINE_SCRIPT.findall(page):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        sources.append(f"'sha256-{digest}'")
    return sources


class SecurityHeaders:
    """Ready-made header lists, so that a request pays one comparison of its path."""

    def __init__(self, *, secure: bool, ohif_page: str = "") -> None:
        ohif = list(_OHIF)
        ohif[1] = " ".join([ohif[1], *inline_hashes(ohif_page)])
        more = [HSTS] if secure else []
        self.page: Headers = [*_ALWAYS, *more, _csp(_PAGE)]
        self.ohif: Headers = [*_ALWAYS, *more, _csp(tuple(ohif))]
        self.data: Headers = [*_ALWAYS, *more, _csp(_DATA)]

    def of(self, path: str) -> Headers:
        """The headers for an answer to a request for `path`."""
        if path.startswith(DATA_PATHS):
            return self.data
        if path.startswith("/ohif/") or path == "/ohif":
            return self.ohif
        return self.page


def _csp(directives: tuple[str, ...]) -> tuple[bytes, bytes]:
    return b"content-security-policy", "; ".join(directives).encode()
