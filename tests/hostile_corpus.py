"""The hostile corpus: every input with its name, the doors it is sent to and what must come back.

An answer is told in a few words (`gate.py` says which), and a demand is a regular expression
for them. `tools/make_hostile.py` writes it all to a folder.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hostile_dimse as dimse
import hostile_requests as requests
import hostile_wire as wire
from hostile_archives import PREAMBLES, deflate_bomb, meta_files, packs
from hostile_bodies import BODIES
from hostile_files import (
    EITHER,
    PATHS,
    REFUSED,
    STORED,
    Bad,
    bad_uids,
    broken_structures,
    data_set,
    nestings,
    part10,
    uid_of,
)
from hostile_http import DICOM, MULTIPART, multipart, request
from hostile_values import absurd_pixels, hostile_names, odd_text
from hostile_wire import p_data, pdu, pdv

NOBODY = "127.0.0.1:1"  # whom inputs ask the server to call, unless told otherwise
STRANGER = "127.0.0.3"  # whence failed sign-ins come: others must not have to wait for them
FAILURE = "(A7|A9|C.)[0-9A-F]{2}"  # of a C-STORE or a query, in our own words


@dataclass(frozen=True)
class Input:
    """One hostile input; `demands`: by the way it is sent, what the answer must match."""

    name: str
    sent: bytes
    demands: dict[str, str]
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def door(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]


# -- the DICOM door ------------------------------------------------------------------------------
USUAL = wire.associate_rq([wire.context(*each) for each in wire.USUAL])
GOODBYE = p_data(pdv(1, 3, wire.ECHO_RQ)) + wire.RELEASE  # the association must have lived


def message(context_id: int, command: bytes, content: bytes | None = None) -> bytes:
    """A message in PDUs of 16 KiB."""
    pieces = [p_data(pdv(context_id, wire.COMMAND | wire.LAST, command))]
    if content is not None:
        cuts = [content[at : at + 16000] for at in range(0, len(content), 16000)] or [b""]
        pieces += [p_data(pdv(context_id, 0, cut)) for cut in cuts[:-1]]
        pieces.append(p_data(pdv(context_id, wire.LAST, cuts[-1])))
    return b"".join(pieces)


def _stream(name: str, sent: bytes, demand: str) -> Input:
    return Input(f"dimse/{name}", sent, {"dimse": demand})


def streams() -> Iterator[Input]:
    """What is sent to the DICOM port as it is."""
    for name, sent in dimse.STRANGERS.items():
        yield _stream(f"first bytes/{name}", sent, "abort closed")
    yield _stream("first bytes/abort", pdu(wire.ABORT, bytes(4)), "closed")
    for name, sent in dimse.BREACHES.items():
        yield _stream(f"breach/{name}", USUAL + sent, "accept abort closed")
    for name, sent in dimse.REJECTED.items():
        yield _stream(f"rejected/{name}", sent, "reject")
    for name, (contexts, _) in dimse.PARTLY.items():
        yield _stream(f"contexts/{name}", dimse.proposal(*contexts) + GOODBYE, ALIVE)
    for name, user in dimse.USERS.items():
        yield _stream(f"user/{name}", dimse.proposal(dimse.ECHO, user=user) + GOODBYE, ALIVE)
    for title in (b"\x1b[31mRED", b"A\r\nB: C", b"%s%n{0}", b"\0\0x", b"\xff" * 16):
        sent = dimse.proposal(dimse.ECHO, calling=title) + pdu(0x2A, bytes(4))
        yield _stream(f"calling/{title!r}", sent, "reject|accept abort closed")
    yield from _operations()


ALIVE = "accept 0000 released"


def _operations() -> Iterator[Input]:
    """Messages that fail on associations that live."""
    for name, keys in dimse.IDENTIFIERS.items():
        sent = USUAL + b"".join(_questions(keys)) + GOODBYE
        status = f"(0000|A801|{FAILURE})"
        yield _stream(f"identifier/{name}", sent, f"accept( {status}){{3}} 0000 released")
    for number in (0x0002, 0x0022, 0x00FF, 0x0151, 0x0FFE, 0x7FFF):
        unknown = message(1, wire.command(number, 3, sop_class=wire.VERIFICATION))
        demand = "accept 0211 0000 released"
        yield _stream(f"command/{number:04X}", USUAL + unknown + GOODBYE, demand)
    for path in PATHS:
        uid = uid_of(f"announced as {path}")
        rq = wire.command(wire.C_STORE, 7, sop_class=wire.CT, instance=path, data_set=True)
        sent = USUAL + message(3, rq, data_set(uid)) + GOODBYE
        demand = "accept (A900|C000|0117|0122) 0000 released"
        yield _stream(f"announced/{path[:12]!r}", sent, demand)
    named = ("NOBODY", "", NOBODY, "HOSTILE", "../../x", "\x1b[31m", "A\\B", "*")
    for destination in named:
        options = {"data_set": True, "destination": destination}
        rq = wire.command(wire.C_MOVE, 6, sop_class=wire.STUDY_MOVE, **options)
        keys = dimse.level("STUDY", x0020000D=b"1.2.3")
        sent = USUAL + message(7, rq, keys) + GOODBYE
        yield _stream(f"move/{destination!r}", sent, "accept A801 0000 released")


def _questions(keys: bytes) -> Iterator[bytes]:
    """The same identifier in C-FIND, C-MOVE and C-GET."""
    find, move, get = wire.STUDY_FIND, wire.STUDY_MOVE, wire.STUDY_GET
    yield message(5, wire.command(wire.C_FIND, 5, sop_class=find, data_set=True), keys)
    options = {"data_set": True, "destination": "NOBODY"}
    yield message(7, wire.command(wire.C_MOVE, 6, sop_class=move, **options), keys)
    yield message(9, wire.command(wire.C_GET, 7, sop_class=get, data_set=True), keys)


# -- files -----------------------------------------------------------------------------------------
STORE_DEMANDS = {
    STORED: {"c-store": "(0000|B000) 0000", "stow": "200", "import": "1"},
    REFUSED: {"c-store": f"{FAILURE} 0000", "stow": "400|409", "import": "0"},
    EITHER: {"c-store": f"(0000|B000|{FAILURE}) 0000", "stow": "200|400|409", "import": "[01]"},
}


def _file(kind: str, one: Bad) -> Input:
    facts = {"uids": [one.uid], "transfer_syntax": one.ts, "data_set_at": len(one.file)}
    facts["data_set_at"] = len(one.file) - len(one.body)
    return Input(f"file/{kind}/{one.name}", one.file, STORE_DEMANDS[one.expected], facts)


def files() -> Iterator[Input]:
    """Data sets, sent by C-STORE and by STOW-RS and imported from a folder."""
    kinds: dict[str, Iterable[Bad]] = {
        "nesting": nestings(),
        "structure": broken_structures(),
        "uid": bad_uids(),
        "text": odd_text(),
        "pixels": absurd_pixels(),
        "name": hostile_names().values(),
    }
    for kind, table in kinds.items():
        yield from (_file(kind, one) for one in table)
    bomb = deflate_bomb(300)
    yield _file("bomb", bomb)
    whole = {STORED: "20[02]", REFUSED: "400|409", EITHER: "20[02]|400|409"}
    for name, one in meta_files().items():
        demands = {"stow": whole[one.expected], "import": STORE_DEMANDS[one.expected]["import"]}
        yield Input(f"file/meta/{name}", one.content, demands, {"uids": [one.uid]})
    for name, preamble in PREAMBLES.items():
        uid = uid_of(f"preamble {name}")
        file = part10(data_set(uid), uid, preamble=preamble)
        yield Input(f"file/preamble/{name}", file, {"stow": "200", "import": "1"}, {"uids": [uid]})
    for name, pack in packs().items():
        facts = {"uids": list(pack.uids), "suffix": pack.suffix}
        yield Input(f"archive/{name}", pack.content, {"import": pack.stored}, facts)


# -- the web door --------------------------------------------------------------------------
def _request(name: str, sent: bytes, *statuses: int | str, **facts: object) -> Input:
    demand = "|".join(map(str, statuses))
    return Input(f"http/{name}", sent, {"http": demand}, facts)


def asked(canary: str) -> Iterator[Input]:
    """What is sent to the HTTP port as it is. canary: whom it asks the server to call."""
    studies, get = requests.STUDIES, "GET"
    for name, sent in requests.AMBIGUOUS.items():
        yield _request(f"ambiguous/{name}", sent, "(400|411|413|501|505) closed", closes=True)
    for name, (sent, statuses) in requests.LONG_HEADS.items():
        yield _request(f"long/{name}", sent, *statuses)
    for name, sent in requests.ODD.items():
        sent = sent.replace(NOBODY.encode(), canary.encode())
        yield _request(f"odd/{name}", sent, 200, 303, 400, 401, 403, 404, 405, 406)
    for name, (headers, body) in BODIES.items():
        body = body.replace(NOBODY.encode(), canary.encode())
        yield _request(f"body/{name}", _post(headers, body), 400, 409, 411, 413, 415)
    for name, query in requests.QUERIES.items():
        sent = request(get, f"{studies}?{query}")
        yield _request(f"query/{name}", sent, 200, 204, 400, 406, 414)
    for number, climb in enumerate(requests.CLIMBS):
        place = requests.PLACES[number % len(requests.PLACES)]
        sent = request(get, place.format(climb))
        yield _request(f"climb/{climb[:20]}", sent, 200, 400, 401, 403, 404, 405)
    yield from _of_a_stored_instance()
    yield from _unasked()
    yield from _coded()


def _post(headers: dict[str, str], body: bytes, *more: tuple[str, str]) -> bytes:
    length = ("Content-Length", str(len(body)))
    return request("POST", requests.STUDIES, [*headers.items(), *more, length], body)


def _of_a_stored_instance() -> Iterator[Input]:
    """Asked of instances that are among the files."""
    uid = uid_of("preamble PDF")
    url = f"{requests.STUDIES}/{uid}.1/series/{uid}.2/instances/{uid}"
    for number, (address, statuses) in enumerate(requests.greedy(url).items()):
        sent = request("GET", address, [("Accept", "*/*")])
        yield _request(f"greed/{number} {address[len(url) :][:40]}", sent, *statuses, 414)
    for number, accept in enumerate(requests.ACCEPTS):
        for path in ("", "/frames/1", "/rendered"):
            sent = request("GET", url + path, [("Accept", accept)])
            yield _request(f"accept/{number} {accept[:20]!r} {path}", sent, 200, 400, 406)
    for one in absurd_pixels():
        url = f"{requests.STUDIES}/{one.uid}.1/series/{one.uid}.2/instances/{one.uid}"
        for path in ("/frames/1", "/rendered"):
            sent = request("GET", url + path, [("Accept", "*/*")])
            statuses = (200, 400, 404, 406, 409, 415, 500)
            yield _request(f"absurd/{one.name} {path}", sent, *statuses)


def _unasked() -> Iterator[Input]:
    """Credentials of nobody."""
    for number, text in enumerate(requests.CREDENTIALS):
        headers = [("Authorization", text)]
        sent = request("GET", requests.STUDIES, headers, signed_in=False)
        name = f"credential/{number} {text[:20]!r}"
        yield _request(name, sent, 400, 401, 429, source=STRANGER)
    for number, body in enumerate(requests.SESSIONS):
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        sent = request("POST", "/api/session", headers, body, signed_in=False)
        statuses = (400, 401, 413, 415, 429)
        yield _request(f"session/{number} {body[:20]!r}", sent, *statuses, source=STRANGER)


def zero_gzip(mebibytes: int) -> bytes:
    """So many MiB of zeros, as gzip."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(deflater.compress(bytes(1 << 20)) for _ in range(mebibytes)) + deflater.flush()


def _coded() -> Iterator[Input]:
    """Bodies under a content coding."""
    typed = {"Content-Type": MULTIPART}
    bomb = zero_gzip(512)
    coded = {
        "a gzip bomb": (bomb, "gzip", (400, 413)),
        "a bomb of a single file": (bomb, "x-gzip", (400, 413)),
        "no gzip": (b"no gzip", "gzip", (400,)),
        "nothing": (b"", "gzip", (400,)),
        "cut": (gzip.compress(multipart(b"x"), mtime=0)[:-9], "gzip", (400,)),
        "members without end": (gzip.compress(b"", mtime=0) * 50_000, "gzip", (400, 413)),
        "deflate": (b"x", "deflate", (415,)),
        "gzip in gzip": (b"x", "gzip, gzip", (415,)),
        "a path": (b"x", "../../x", (415,)),
        "a coding of 2,000": (b"x", "gzip" * 500, (415,)),
    }
    for name, (body, coding, statuses) in coded.items():
        headers = {"Content-Type": DICOM} if name.endswith("file") else typed
        yield _request(
            f"coding/{name}", _post(headers, body, ("Content-Encoding", coding)), *statuses
        )


# -- all of it -----------------------------------------------------------------------------
def corpus(canary: str = NOBODY) -> list[Input]:
    """Every input, in the order in which it is to be sent; names are unique."""
    found = [*streams(), *files(), *asked(canary)]
    assert len({one.name for one in found}) == len(found), "two inputs of one name"
    return found


def write(folder: Path, canary: str = NOBODY) -> Path:
    """Write every input, and `manifest.json` that says what each is; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, one in enumerate(corpus(canary), 1):
        file = f"{number:04}.{'dcm' if one.door == 'file' else 'bin'}"
        (folder / file).write_bytes(one.sent)
        digest = hashlib.sha256(one.sent).hexdigest()
        entry = {"name": one.name, "file": file, "sha256": digest, "demands": one.demands}
        entries.append(entry | ({"facts": one.facts} if one.facts else {}))
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"canary": canary, "inputs": entries}, indent=1) + "\n")
    return manifest


def read(manifest: Path) -> Iterator[Input]:
    """The inputs that `write` left, one in memory at a time."""
    for entry in json.loads(manifest.read_text())["inputs"]:
        sent = (manifest.parent / entry["file"]).read_bytes()
        yield Input(entry["name"], sent, entry["demands"], entry.get("facts", {}))
