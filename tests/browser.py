"""A person at a real Chromium: pages watched for dialogs, script errors and foreign requests."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from nodes import PASSWORD

# Software rendering, so that it works without a GPU; and not one name is resolved.
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
OURS = re.compile(r"^(https?://127\.0\.0\.1(:\d+)?/|blob:|data:|about:)")
PATIENCE_MS = 60_000  # OHIF on two busy cores without a GPU
expect.set_options(timeout=20_000)

# The image as drawn, without what is laid over it.
PIXELS = """() => {
  const canvas = document.querySelector('canvas.cornerstone-canvas');
  return canvas && canvas.width ? canvas.toDataURL('image/png') : '';
}"""


class Visit:
    """One person's browser: signs in, looks, and remembers what should not have happened."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self._context.set_default_timeout(PATIENCE_MS)
        self.page = self._context.new_page()
        self.foreign: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self._context.on("request", self._requested)
        self._context.on("page", self._watch)
        self._watch(self.page)

    def _watch(self, page: Page) -> None:
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _requested(self, request: Request) -> None:
        if not OURS.match(request.url):
            self.foreign.append(request.url)

    def sign_in(self, password: str = PASSWORD) -> Page:
        """Sign in as the administrator and wait for the list."""
        self.page.goto(f"{self.url}/login")
        self.page.get_by_label("User").fill("admin")
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", name="Studies", exact=True)).to_be_visible()
        return self.page

    def picture(self, name: str) -> None:
        """Keep a screenshot, to be looked at."""
        self.page.screenshot(path=self._folder / f"{name}.png")

    def drawn(self) -> np.ndarray:
        """The pixels of OHIF's first viewport: (rows, columns, 3); empty before it draws."""
        address = self.page.evaluate(PIXELS)
        if not address:
            return np.zeros((0, 0, 3), np.uint8)
        png = base64.b64decode(address.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def wait_for_image(self) -> np.ndarray:
        """Wait until something is drawn; fails when the viewport stays black."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            pixels = self.drawn()
            if pixels.size and (pixels.max(axis=2) > 24).mean() > 0.02:
                return pixels
            self.page.wait_for_timeout(250)
        self.picture("black")
        raise AssertionError("the viewport stayed black")

    def close(self) -> None:
        """End the visit; nothing may have left this machine, nothing may have spoken up."""
        self._context.close()
        assert self.foreign == [], "requests to other hosts"
        assert self.dialogs == [], "dialogs opened"
        assert self.errors == [], "scripts failed"


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """The system's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def screenshots(otherwise: Path) -> Path:
    """Where pictures go: FILMROOM_SCREENSHOTS, or a temporary folder."""
    folder = Path(os.environ.get("FILMROOM_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
