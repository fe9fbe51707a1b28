"""A rendered MP4 in a real Chromium: it plays, it can be sought in, and it looks right."""

import base64

import numpy as np
import pytest

import browser
from filmroom.pixel.movie import mp4

pytestmark = pytest.mark.browser

LOAD = """source => new Promise((done, failed) => {
  const video = document.querySelector('video');
  video.onloadeddata = () => done([video.duration, video.videoWidth, video.videoHeight]);
  video.onerror = () => failed(video.error.message);
  video.src = source;
})"""
GREY_AT = """seconds => new Promise(done => {
  const video = document.querySelector('video');
  video.onseeked = () => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext('2d');
    pen.drawImage(video, 10, 10, 20, 20, 0, 0, 1, 1);
    done([...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
  };
  video.currentTime = seconds;
})"""
ENDED = """() => new Promise(done => {
  const video = document.querySelector('video');
  video.onended = () => done(video.currentTime);
  video.currentTime = 0;
  video.play();
})"""


@pytest.fixture(scope="module")
def page(peer_program):
    with browser.chromium(peer_program("chromium")) as running:
        made = running.new_page()
        made.set_content("<video muted></video>")
        yield made


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_a_movie_plays_in_chromium(page, colour):
    levels = [25 * number for number in range(10)]
    frames = [np.full((90, 120), level, np.uint8) for level in levels]
    if colour:
        frames = [np.stack([f, 255 - f, np.full_like(f, 60)], axis=-1) for f in frames]
    content = mp4(frames, 100.0, 90)
    source = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
    assert page.evaluate(LOAD, source) == [1, 120, 90]
    for number in (7, 2, 9, 0):
        shown = page.evaluate(GREY_AT, (number + 0.5) / 10)
        expected = frames[number][0, 0].tolist() if colour else [levels[number]] * 3
        assert np.abs(np.array(shown) - expected).max() <= 6
    assert page.evaluate(ENDED) == pytest.approx(1.0, abs=0.05)
