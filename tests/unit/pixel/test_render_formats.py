"""WebP, MP4 and ICC profiles: files that say what they are and look as they should."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from filmroom.pixel import movie
from filmroom.pixel.encode import Shown, encode
from filmroom.pixel.errors import BadParameter, NoCodec, Undecodable
from filmroom.pixel.icc import manage, named_profile
from filmroom.pixel.options import (
    GIF,
    ICC_PROFILES,
    JPEG,
    MP4,
    PNG,
    WEBP,
    RenderOptions,
    parse_options,
)
from golden_cases import SMALL, WHOLE, packaged, show

ROWS, COLUMNS = np.mgrid[0:90, 0:120]
GREY = ((ROWS + COLUMNS) % 256).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, np.full_like(GREY, 90)], axis=-1)


def image_of(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "colour"])
def test_a_webp_looks_like_the_picture(pixels):
    image = image_of(encode([Shown(pixels)], RenderOptions(WEBP)))
    assert (image.format, image.size) == ("WEBP", (120, 90))
    expected = np.asarray(Image.fromarray(pixels).convert("RGB")).astype(int)
    assert np.abs(np.asarray(image.convert("RGB")) - expected).mean() < 3


def test_a_picture_too_large_for_webp_is_refused():
    with pytest.raises(BadParameter, match="WebP"):
        encode([Shown(np.zeros((2, 20_000), np.uint8))], RenderOptions(WEBP))


def a_movie(frames, frame_time_ms=40.0, quality=90) -> bytes:
    shown = [Shown(frame) for frame in frames]
    return encode(shown, RenderOptions(MP4, quality=quality), frame_time_ms)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_a_movie_has_all_frames_at_their_times_and_looks_like_them(colour):
    still = RGB if colour else GREY
    frames = [np.roll(still, 3 * number, axis=1) for number in range(12)]
    with av.open(io.BytesIO(a_movie(frames, 50.0))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        decoded = list(container.decode(stream))
        duration = stream.duration * stream.time_base
    assert len(decoded) == 12
    assert duration == Fraction(12 * 50, 1000)
    assert [float(frame.pts * frame.time_base) for frame in decoded] == pytest.approx(
        [0.05 * number for number in range(12)]
    )
    for frame, expected in zip(decoded, frames, strict=True):
        shown = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray().astype(int)
        wanted = expected if colour else np.repeat(expected[..., None], 3, axis=-1)
        assert np.abs(shown - wanted).mean() < (8 if colour else 3)


def test_a_movie_of_odd_sides_is_a_pixel_larger():
    with av.open(io.BytesIO(a_movie([GREY[:89, :119]] * 2))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (120, 90)


def test_a_movie_can_be_played_before_it_is_there():
    content = a_movie([GREY] * 5)
    assert content[4:8] == b"ftyp"
    assert content.index(b"moov") < content.index(b"mdat")


def test_better_quality_takes_more_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert len(a_movie([noise] * 4, quality=95)) > len(a_movie([noise] * 4, quality=30))


def test_without_pyav_there_are_no_movies(monkeypatch):
    monkeypatch.setattr(movie, "can_make_movies", lambda: False)
    with pytest.raises(NoCodec, match="video"):
        a_movie([GREY])


def test_a_movie_too_large_for_players_is_refused():
    with pytest.raises(BadParameter, match="viewport"):
        a_movie([np.zeros((16, 5000), np.uint8)])


@pytest.mark.parametrize("name", ["srgb", "adobergb", "displayp3", "rommrgb"])
def test_a_profile_by_its_name_is_one_that_littlecms_reads(name):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(named_profile(name)))
    words = {"srgb": "sRGB", "adobergb": "Adobe", "displayp3": "P3", "rommrgb": "ROMM"}
    assert words[name] in ImageCms.getProfileDescription(profile)
    assert profile.profile.xcolor_space.strip() == "RGB"


def test_our_srgb_is_that_of_littlecms():
    ours, theirs = (
        ImageCms.ImageCmsProfile(io.BytesIO(named_profile("srgb"))),
        ImageCms.createProfile("sRGB"),
    )
    same = ImageCms.profileToProfile(Image.fromarray(RGB), ours, theirs, outputMode="RGB")
    assert np.abs(np.asarray(same).astype(int) - RGB).max() <= 1


def test_white_stays_white_and_colours_shrink_in_a_wider_space():
    colours = np.array([[[255, 255, 255], [128, 128, 128], [255, 0, 0], [0, 255, 0]]], np.uint8)
    for name in ("adobergb", "displayp3", "rommrgb"):
        shown, profile = manage(colours, b"", name)
        white, grey, red, green = (pixel.tolist() for pixel in shown[0].astype(int))
        assert profile == named_profile(name)
        assert min(white) >= 254
        assert max(grey) - min(grey) <= 1
        assert red[0] < 255
        assert 0 < green[0] < green[1] <= 255
    assert manage(colours, b"", "srgb")[0] is colours


def test_adobe_rgb_has_the_values_that_its_definition_gives():
    shown, _ = manage(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), b"", "adobergb")
    assert np.abs(shown[0].astype(int) - [[219, 0, 0], [0, 0, 250]]).max() <= 2


@pytest.mark.parametrize("media_type", [JPEG, PNG, WEBP])
def test_the_images_own_profile_is_put_with_the_picture(media_type):
    image = packaged("US1_UNCR.dcm")
    image.ICCProfile = named_profile("adobergb")
    wish = RenderOptions(media_type, viewport=SMALL.viewport, profile="yes")
    assert image_of(show(image, wish)).info["icc_profile"] == named_profile("adobergb")
    none = RenderOptions(media_type, viewport=SMALL.viewport)
    assert "icc_profile" not in image_of(show(image, none)).info


def test_an_image_of_another_space_is_converted_to_srgb():
    image = packaged("SC_rgb.dcm")
    plain = np.asarray(image_of(show(image, WHOLE))).astype(int)
    image.ICCProfile = named_profile("adobergb")
    converted = image_of(show(image, RenderOptions(PNG, profile="srgb")))
    assert converted.info["icc_profile"] == named_profile("srgb")
    back, _ = manage(np.asarray(converted), named_profile("srgb"), "adobergb")
    inside = (plain > 40).all(axis=-1) & (plain < 220).all(axis=-1)  # what sRGB can hold
    assert np.abs(back.astype(int) - plain)[inside].max() <= 3


@pytest.mark.parametrize("profile", [b"x" * 200, bytes(128), named_profile("srgb")[:300]])
def test_a_broken_profile_is_undecodable_not_a_crash(profile):
    with pytest.raises((Undecodable, NoCodec)):
        manage(RGB, profile, "displayp3")


def test_grey_pictures_have_no_profile():
    pixels, profile = manage(GREY, named_profile("srgb"), "displayp3")
    assert pixels is GREY
    assert profile == b""


@pytest.mark.parametrize("media_type", [GIF, MP4])
def test_a_profile_is_refused_where_none_can_be(media_type):
    for profile in ICC_PROFILES:
        if profile in ("no", "srgb"):
            assert parse_options({"iccprofile": profile}, media_type).profile == profile
        else:
            with pytest.raises(BadParameter, match="no or srgb"):
                parse_options({"iccprofile": profile}, media_type)
