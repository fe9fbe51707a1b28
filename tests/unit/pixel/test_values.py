"""pixel.values: what DICOM JSON takes in memory, and its binary values."""

import base64

import orjson
import pytest

from filmroom.pixel.values import decode_binaries, raw_of, weight_of
from instances import deep_size


def number(value, vr="DS"):
    return {"vr": vr, "Value": [value]}


def per_frame(count):
    return {
        "52009230": {
            "vr": "SQ",
            "Value": [
                {
                    "00289132": {
                        "vr": "SQ",
                        "Value": [{"00281050": number(1.5 + at), "00281051": number(400.5 + at)}],
                    },
                    "00209111": {"vr": "SQ", "Value": [{"00209157": number(at, "UL")}]},
                }
                for at in range(count)
            ],
        }
    }


HEADERS = {
    "short": {"00280010": number(512, "US"), "00280011": number(512, "US")},
    "many frames": per_frame(2000),
    "many numbers": {"00281201": {"vr": "US", "Value": [256 + at for at in range(50_000)]}},
    "many texts": {"00280004": {"vr": "LO", "Value": [f"text {at}" for at in range(20_000)]}},
    "empty items": {"00283010": {"vr": "SQ", "Value": [{} for _ in range(20_000)]}},
    "no values": {f"0028{at:04X}": {"vr": "US"} for at in range(5000)},
    "binary": {"60003000": {"vr": "OW", "InlineBinary": base64.b64encode(bytes(10**6)).decode()}},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_weight_is_not_less_than_what_is_in_memory_and_not_many_times_more(name):
    text = orjson.dumps(HEADERS[name])
    held = deep_size(orjson.loads(text))
    assert held <= weight_of(text) <= 4 * held + 1000


def test_binary_values_of_items_too_become_bytes_once():
    coded = {"vr": "OW", "InlineBinary": "AAD//w=="}
    attributes = {
        "00281201": dict(coded),
        "00283010": {"vr": "SQ", "Value": [{"00283006": dict(coded)}, None, {}]},
        "00283000": {"vr": "SQ"},
        "00282000": {"vr": "OB", "InlineBinary": 5},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Hopper^Grace"}]},
    }
    decode_binaries(attributes)
    assert attributes["00281201"]["InlineBinary"] == b"\0\0\xff\xff"
    assert raw_of(attributes, "00281201") is raw_of(attributes, "00281201")
    assert raw_of(attributes["00283010"]["Value"][0], "00283006") == b"\0\0\xff\xff"
    assert raw_of(attributes, "00282000") == b""
