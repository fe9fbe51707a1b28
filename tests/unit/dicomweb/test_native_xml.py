"""PS3.19 A.1: XML says what the JSON says, and no DTD is ever read."""

import xml.etree.ElementTree as ET

import pytest

from filmroom.dicomweb.xml import MalformedXml, dumps, loads

DATA_SET = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane^^Dr", "Ideographic": "山田^太郎"}]},
    "00100020": {"vr": "LO"},
    "00200013": {"vr": "IS", "Value": [7]},
    "00281050": {"vr": "DS", "Value": [40.5]},
    "00400275": {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ['<step> & "more"']}}, {}],
    },
    "00091010": {"vr": "UN", "InlineBinary": "AAEC"},
    "7FE00010": {"vr": "OW", "BulkDataURI": "/dicom-web/studies/1.2/bulkdata/7FE00010"},
}
BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]>
<NativeDicomModel>&c;</NativeDicomModel>"""
FILE = b"""<!DOCTYPE a SYSTEM "file:///etc/passwd"><NativeDicomModel/>"""


def test_json_to_xml_and_back_is_the_same():
    assert loads(dumps(DATA_SET)) == DATA_SET


def test_attributes_carry_tag_vr_and_keyword():
    root = ET.fromstring(dumps(DATA_SET))
    attribute = root[0]
    assert root.tag.endswith("NativeDicomModel")
    assert attribute.attrib["keyword"] == "SpecificCharacterSet"
    assert (attribute.attrib["tag"], attribute.attrib["vr"]) == ("00080005", "CS")


def test_hostile_text_stays_text():
    name = "<script>alert(1)</script>\x00\x1b[31m]]>\ud800"
    text = dumps({"00100020": {"vr": "LO", "Value": [name]}})
    (value,) = ET.fromstring(text)[0]
    assert value.text.startswith("<script>alert(1)</script>")


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        FILE,
        b"",
        b"<NativeDicomModel>",
        b"<other/>",
        b"<NativeDicomModel><DicomAttribute tag='1' vr='CS'/></NativeDicomModel>",
        b"<DicomAttribute tag='00080005' vr='CS'/>",
        b"<NativeDicomModel><Value>1</Value></NativeDicomModel>",
        b"<NativeDicomModel>" + b"<a>" * 100_000,
    ],
)
def test_what_is_no_native_model_is_refused(text):
    with pytest.raises(MalformedXml):
        loads(text)
