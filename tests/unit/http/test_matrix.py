"""Every route, asked by everybody, compared with the matrix that stands beside this file.

A new route fails this test until somebody has thought about who may use it:
`PYTHONPATH=tests python tests/unit/http/test_matrix.py` prints the matrix as it would be now.
"""

import re
from pathlib import Path

import pytest

from accounts import CHEAP, AClock, an_archive, some_settings
from filmroom.asgi import create_app
from filmroom.asgi.openapi import each_route

MATRIX = Path(__file__).with_name("matrix.txt")
WHO = (None, "viewer", "technologist", "radiologist", "service", "admin")
_EXAMPLES = {"id": "7", "frames": "1", "path": "x", "name": "nobody"}
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@pytest.fixture
def real_app(tmp_path):
    app = create_app(
        an_archive(), None, some_settings(tmp_path), clock=AClock(), hasher=CHEAP, static=tmp_path
    )
    yield app
    app.sign_in.shut()


def path_of(template: str) -> str:
    return _PARAMETER.sub(lambda found: _EXAMPLES.get(found[1], "1.2.3"), template)


async def rows(app, ask_of) -> list[str]:
    """One line per route: method, template, and for everybody + or the refusal."""
    clients = [ask_of(app)(who) for who in WHO]
    made = []
    for method, template, _ in each_route(app.routes):
        marks = []
        for client in clients:
            answer = await client.request(method, path_of(template))
            marks.append({401: "401", 403: "403"}.get(answer.status_code, "+"))
        made.append(f"{method:<8}{template:<98}" + "".join(f"{mark:<5}" for mark in marks).rstrip())
    return sorted(set(made))


async def test_the_allowed_are_exactly_those_of_the_matrix(real_app, ask_of):
    lines = MATRIX.read_text().splitlines()
    expected = [line for line in lines if line and not line.startswith("#")]
    assert await rows(real_app, ask_of) == expected


async def test_a_method_nobody_thought_of_needs_an_administrator(real_app, ask_of):
    client = ask_of(real_app)("technologist")
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
        for path in ("/dicom-web/studies/1.2.3", "/api/statistics", "/wado", "/", "/livez"):
            assert (await client.request(method, path)).status_code == 403


async def test_the_description_names_every_route(real_app, ask_of):
    paths = (await ask_of(real_app)("viewer").get("/api/openapi.json")).json()["paths"]
    for method, template, _ in each_route(real_app.routes[:-4]):  # less pages
        if template != "/api/openapi.json":
            assert method.lower() in paths[_PARAMETER.sub(r"{\1}", template)]


if __name__ == "__main__":
    import asyncio
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).parent))
    import conftest

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(
            an_archive(), None, some_settings(Path(folder)), hasher=CHEAP, static=Path(folder)
        )
        titles = "".join(f"{(who or 'nobody')[:4]:<5}" for who in WHO)
        print("# Who may ask what: + is answered, 401 and 403 are refused. See test_matrix.py.")
        print(f"{'#':<106}{titles}")
        print("\n".join(asyncio.run(rows(app, lambda app: conftest.asking(app)))))
        app.sign_in.shut()
