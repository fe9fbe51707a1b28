"""64 levels of sequences go in and out by every door; more than anybody needs is refused."""

from __future__ import annotations

import json

import pytest

import hostile_wire as wire
from hostile_bodies import META, XML, metadata
from hostile_dimse import level
from hostile_files import IMPLICIT, data_set, nested, new_uid, part10
from hostile_http import CLOSING, DICOM, part
from hostile_watch import Watch
from hostile_wire import CT, STUDY_FIND, Peer

STUDIES = "/dicom-web/studies"
SEQUENCE = "00089215"
LEVELS = 64
ABSURD = 30_000


@pytest.fixture(scope="module")
def watch(node):
    watch = Watch(node)
    yield watch
    watch.check()


def depth_of(obj):
    """How deep the sequences of a DICOM JSON object are."""
    depth = 0
    while SEQUENCE in obj:
        depth += 1
        obj = obj[SEQUENCE].get("Value", [{}])[0]
    return depth


def deep_json(depth):
    """A DICOM JSON object of that depth, as text: no library would write the absurd one."""
    uid = new_uid()
    plain = {"00080016": CT, "00080018": uid, "0020000D": f"{uid}.1", "0020000E": f"{uid}.2"}
    head = json.dumps({tag: {"vr": "UI", "Value": [value]} for tag, value in plain.items()})
    opened = f'{{"{SEQUENCE}":{{"vr":"SQ","Value":['
    inner = opened * (depth - 1) + "{}" + "]}}" * (depth - 1)
    return uid, f'[{head[:-1]},"{SEQUENCE}":{{"vr":"SQ","Value":[{inner}]}}}}]'.encode()


def deep_xml(depth):
    """A Native DICOM Model of that depth."""
    uid = new_uid()
    plain = {"00080016": CT, "00080018": uid, "0020000D": f"{uid}.1", "0020000E": f"{uid}.2"}
    head = "".join(
        f'<DicomAttribute tag="{tag}" vr="UI"><Value number="1">{value}</Value></DicomAttribute>'
        for tag, value in plain.items()
    )
    opened = f'<DicomAttribute tag="{SEQUENCE}" vr="SQ"><Item number="1">'
    inner = opened * depth + "</Item></DicomAttribute>" * depth
    return uid, f"<NativeDicomModel>{head}{inner}</NativeDicomModel>".encode()


def told_depth(watch, uid):
    url = f"{STUDIES}/{uid}.1/series/{uid}.2/instances/{uid}/metadata"
    (obj,) = watch.http.get(url).json()
    return depth_of(obj)


def test_by_c_store(node, watch):
    for depth, stored in ((LEVELS, True), (ABSURD, False)):
        uid = new_uid()
        with Peer(node.dimse_port) as peer:
            peer.associate()
            status = peer.store(data_set(uid, tail=nested(depth)), uid)
            assert (status == 0) is stored, hex(status)
            assert peer.echo() == 0
        if stored:
            assert told_depth(watch, uid) == depth


def test_by_stow_of_a_file(watch):
    for depth, status in ((LEVELS, 200), (ABSURD, 400)):
        uid = new_uid()
        file = part10(data_set(uid, tail=nested(depth, defined=True)), uid)
        answer = watch.http.post(STUDIES, content=file, headers={"Content-Type": DICOM})
        assert answer.status_code == status, answer.text
        if status == 200:
            assert told_depth(watch, uid) == depth


def test_by_stow_of_json(watch):
    for depth, status in ((LEVELS, 200), (LEVELS + 1, 400), (ABSURD, 400)):
        uid, text = deep_json(depth)
        headers = {"Content-Type": META}
        answer = watch.http.post(STUDIES, content=metadata(text), headers=headers)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert told_depth(watch, uid) == depth


def test_by_stow_of_xml(watch):
    for depth, status in ((LEVELS, 200), (LEVELS + 1, 400), (ABSURD, 400)):
        uid, text = deep_xml(depth)
        body = part(text, "Content-Type: application/dicom+xml") + CLOSING
        answer = watch.http.post(STUDIES, content=body, headers={"Content-Type": XML})
        assert answer.status_code == status, answer.text
        if status == 200:
            assert told_depth(watch, uid) == depth


def test_in_a_query(node, watch):
    keys = level("STUDY", x0020000D=b"1.2.3")
    with Peer(node.dimse_port) as peer:
        peer.associate()
        for depth, statuses in ((LEVELS, {0x0000}), (ABSURD, {0xA900, 0xC000, 0xC001})):
            rq = wire.command(wire.C_FIND, 5, sop_class=STUDY_FIND, data_set=True)
            peer.ask(5, rq, nested(depth, ts=IMPLICIT) + keys)
            assert peer.status() in statuses
        assert peer.echo() == 0


def test_what_lies_deeper_than_json_goes_is_stored_and_told_without_it(node, watch):
    """Bytes are kept as they came; 200 levels are no reason to refuse an image."""
    uid = new_uid()
    with Peer(node.dimse_port) as peer:
        peer.associate()
        assert peer.store(data_set(uid, tail=nested(200)), uid) == 0
    assert told_depth(watch, uid) == LEVELS + 1  # the last one without its items
