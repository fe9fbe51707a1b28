"""What is fuzzed by `make fuzz`, for a moment: kept inputs, and seeds that are damaged a little."""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

SECONDS = float(os.environ.get("FUZZ_EACH_SECONDS", "0"))  # 0: one round
each = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@each
def test_every_kept_input_is_read_in_one_way_or_refused(target):
    begun = [*target.seeds(), *(path.read_bytes() for path in target.kept())]
    assert len(begun) > 5
    for data in begun:
        target.check(data)


@st.composite
def damaged(draw, target):
    """A seed with a few bytes changed, removed, put in, or taken from another."""
    begun = [data for data in target.seeds() if data]
    data = bytearray(draw(st.sampled_from(begun)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del data[at : at + draw(st.integers(1, 20))]
            case 2:
                data[at:at] = draw(st.binary(max_size=12) | st.sampled_from(target.words))
            case 3:
                data[at : at + 4] = b"\xff\xff\xff\xff"
            case _:
                other = draw(st.sampled_from(begun))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data[: target.max_bytes])


@each
def test_damaged_inputs_are_read_in_one_way_or_refused(target):
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(target))
    def one_round(data):
        target.check(data)

    until = time.monotonic() + SECONDS
    one_round()
    while time.monotonic() < until:
        one_round()
