"""The page that says what is refused says it with the figures that the code has."""

from pathlib import Path

import pytest

from filmroom.acquire import walk
from filmroom.archive import examine
from filmroom.asgi import gate, wire
from filmroom.config.settings import DimseSettings
from filmroom.dicom import deflated, jsonelements, nesting, part10
from filmroom.dicomweb import multipart, negotiate, qido_query, rendered, stow
from filmroom.dicomweb.service import Settings as ServiceSettings
from filmroom.dimse import commands, negotiation, pdu, server
from filmroom.pixel import color, options
from filmroom.security.settings import HttpSettings

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "refusals.md"
KIB, MIB = 1 << 10, 1 << 20
SAID = {
    f"longer than {pdu.ASSOCIATE_LIMIT_BYTES // KIB} KiB, with more than {pdu.MAX_CONTEXTS_READ}",
    f"in {DimseSettings().artim_seconds:g} s not complete",
    f"than {server.ServerSettings().max_connections} connections",
    f"{server.MAX_STRANGER_BYTES // MIB} MiB of half",
    f"the {negotiation.MAX_PDU_BYTES} bytes we announce",
    f"a command set longer than {commands.MAX_COMMAND_BYTES // KIB} KiB",
    f"nothing for {DimseSettings().idle_seconds:g} s",
    f"File Meta Information longer than {part10.MAX_META_BYTES // KIB} KiB",
    f"nested deeper than {nesting.MAX_DEPTH} |",
    f"deeper than {jsonelements.MAX_DEPTH} they are kept",
    f"more than {nesting.MAX_STEPS} elements",
    f"becomes more than {examine.INFLATED_BYTES // MIB} MiB, or beyond "
    f"{deflated.FREE_OF_RATIO_BYTES // MIB} MiB more than {deflated.MAX_RATIO} times",
    f"longer than {wire.MAX_HEAD_BYTES // KIB} KiB or of more than {wire.MAX_FIELDS} fields",
    f"an address longer than {wire.MAX_TARGET_BYTES // KIB} KiB",
    f"longer than {HttpSettings().header_seconds:g} s (`http.header_seconds`)",
    f"for {HttpSettings().body_idle_seconds:g} s (`http.body_idle_seconds`)",
    f"than {gate.SMALL_BODY // MIB} MiB where no object",
    f"more than {ServiceSettings().max_parts} parts",
    f"part headers longer than {multipart.MAX_HEADER_BYTES // KIB} KiB",
    f"{stow.GIVE_UP_AFTER} parts in a row",
    f"beyond {stow.FREE_OF_RATIO_BYTES // MIB} MiB becomes more than {stow.MAX_RATIO} times",
    f"longer than {ServiceSettings().max_metadata_bytes // MIB} MiB, nested deeper than "
    f"{jsonelements.MAX_DEPTH},",
    f"longer than {qido_query.MAX_QUERY_BYTES // KIB} KiB, more than {qido_query.MAX_PARAMETERS} "
    f"parameters, more than {qido_query.MAX_WILDCARDS} wildcards",
    f"longer than {negotiate.MAX_ACCEPT_BYTES} characters or of more than {negotiate.MAX_RANGES}",
    f"more than {options.LARGEST_SIDE} pixels or an area of more than {options.LARGEST_AREA}",
    f"a segmented palette of more than {color.MOST_SEGMENTS} segments",
    f"a header longer than {rendered.LONGEST_HEADER_BYTES // MIB} MiB, for a picture",
    f"more than {walk.MAX_RATIO} times their",
    f"beyond {walk.RATIO_FREE_BYTES // MIB} MiB are passed over",
}


@pytest.mark.parametrize("said", sorted(SAID))
def test_the_page_says_what_the_code_does(said):
    page = " ".join(PAGE.read_text("utf-8").split())
    assert said in page
