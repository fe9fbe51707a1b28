"""Who gets through the gate, and what the others are told."""

import base64

import httpx
import pytest

from accounts import PASSWORDS

PAGE = {"accept": "text/html,application/xhtml+xml", "sec-fetch-mode": "navigate"}


def basic(user, password):
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "path", ["/dicom-web/studies", "/dicom-web/", "/wado", "/api/session", "/api/users", "/nothing"]
)
async def test_without_credentials_there_is_nothing(ask, path):
    answer = await ask().get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["status"] == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/login", "/favicon.svg"])
async def test_health_and_the_sign_in_page_are_open(ask, path):
    assert (await ask().get(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/", "/login"),
        ("/ohif/", "/login?next=%2Fohif%2F"),
        ("/ohif/viewer?StudyInstanceUIDs=1.2&x=%26", "/login?next=%2Fohif%2Fviewer%3F"),
    ],
)
async def test_a_person_is_led_to_the_sign_in_page(ask, path, where):
    answer = await ask().get(path, headers=PAGE)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(where)


async def test_the_way_back_stays_on_this_server(ask):
    answer = await ask().get("//evil.example/x", headers=PAGE)
    assert "next=%2F" in answer.headers["location"] or answer.headers["location"] == "/login"
    assert answer.headers["location"].startswith("/login")


async def test_a_script_is_not_led_to_a_page(ask):
    answer = await ask().get("/ohif/", headers={"accept": "*/*", "sec-fetch-mode": "cors"})
    assert answer.status_code == 401
    assert "Basic" not in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer nonsense",
        "Bearer filmroom_" + "x" * 43,
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        "Bearer ../../etc/passwd",
        "Bearer " + "x" * 50_000,
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic \u00e9\u00ff".encode("latin-1"),
        "Negotiate abc",
        "",
    ],
)
async def test_made_up_credentials_are_nobody(ask, authorization):
    answer = await ask(authorization=authorization).get("/dicom-web/studies")
    assert answer.status_code == 401


async def test_a_bad_header_is_not_saved_by_a_good_cookie(browser):
    answer = await browser.get("/api/session", headers={"authorization": "Bearer nonsense"})
    assert answer.status_code == 401


async def test_a_token_is_enough(ask):
    answer = await ask("viewer").get("/dicom-web/studies")
    assert answer.status_code == 200


async def test_a_viewer_does_not_store(ask):
    answer = await ask("viewer").post("/dicom-web/studies", content=b"x")
    assert answer.status_code == 403
    assert "may not store" in answer.json()["detail"]


async def test_a_technologist_stores(ask):
    answer = await ask("technologist").post("/dicom-web/studies", content=b"x")
    assert answer.json() == {"received": 1}


async def test_an_expired_token_is_nobody(app, ask, clock):
    secret, _ = app.sign_in.credentials.make_token("t", "viewer", clock.time + 60)
    client = ask(authorization=f"Bearer {secret}")
    assert (await client.get("/dicom-web/studies")).status_code == 200
    clock.time += 61
    assert (await client.get("/dicom-web/studies")).status_code == 401


async def test_basic_works_on_this_machine(app):
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        good = await client.get("/dicom-web/studies", headers=basic("viewer", PASSWORDS["viewer"]))
        bad = await client.get("/dicom-web/studies", headers=basic("viewer", "wrong"))
    assert good.status_code == 200
    assert bad.status_code == 401
    assert "Basic" in bad.headers["www-authenticate"]


async def test_basic_works_over_tls(app):
    transport = httpx.ASGITransport(app, client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://archive.test") as client:
        answer = await client.get(
            "/dicom-web/studies", headers=basic("viewer", PASSWORDS["viewer"])
        )
    assert answer.status_code == 200


async def test_basic_is_refused_where_others_can_listen(ask):
    answer = await ask().get("/dicom-web/studies", headers=basic("viewer", PASSWORDS["viewer"]))
    assert answer.status_code == 401
    assert "HTTPS" in answer.json()["detail"]


async def test_guessing_with_basic_is_slowed_down(app):
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answers = [
            await client.get("/dicom-web/studies", headers=basic("viewer", f"guess {n}"))
            for n in range(6)
        ]
    assert [a.status_code for a in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_an_index_that_is_away_is_503_not_a_traceback(ask, archive):
    client = ask("viewer")
    archive.index.away = True
    answer = await client.get("/dicom-web/studies")
    assert answer.status_code == 503
    assert "secret path" not in answer.text
    assert answer.headers["retry-after"]


# -- cross-site ------------------------------------------------------------------------------

LEAVE = ("DELETE", "/api/session")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "x-filmroom": "1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://archive.test:8081"},
        {"origin": "http://archive.test:8080.evil.example"},
    ],
)
async def test_another_site_cannot_act_in_my_name(browser, headers):
    answer = await browser.request(*LEAVE, headers=headers)
    assert answer.status_code == 403
    assert (await browser.get("/api/session")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://archive.test:8080"},
        {"x-filmroom": "1"},
    ],
)
async def test_our_own_page_can(browser, headers):
    assert (await browser.request(*LEAVE, headers=headers)).status_code == 204


async def test_another_site_cannot_sign_me_in_as_somebody_else(ask):
    answer = await ask().post(
        "/api/session",
        json={"user": "viewer", "password": PASSWORDS["viewer"]},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 403


async def test_a_token_needs_no_proof(ask):
    answer = await ask("technologist").post("/dicom-web/studies", content=b"x")
    assert answer.status_code == 200


async def test_basic_in_a_browser_needs_the_proof_too(app):
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    headers = basic("technologist", PASSWORDS["technologist"]) | {"origin": "http://evil.example"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post("/dicom-web/studies", content=b"x", headers=headers)
    assert answer.status_code == 403


# -- size ------------------------------------------------------------------------------------


async def test_a_body_is_bounded_by_its_announced_length(ask):
    answer = await ask("admin").post("/api/users", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413
    assert "1048576" in answer.json()["detail"]


async def test_a_body_without_a_length_is_bounded_as_it_comes(make_app, ask_of):
    client = ask_of(make_app(http={"max_body_bytes": 1 << 20}))("technologist")

    async def endless():
        while True:
            yield b"x" * 65536

    answer = await client.post("/dicom-web/studies", content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("length", "status"),
    [("-1", 400), ("1e3", 400), ("x", 400), ("9" * 30, 413), ("4294967296000", 413)],
)
async def test_an_absurd_content_length_is_refused_at_once(ask, length, status):
    answer = await ask("technologist").post(
        "/dicom-web/studies", content=b"", headers={"content-length": length}
    )
    assert answer.status_code == status


async def test_a_websocket_is_closed_before_anything_is_asked(app):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    await app({"type": "websocket", "path": "/dicom-web/studies", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
