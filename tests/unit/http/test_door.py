"""What every answer carries, what is counted, and what nobody outside gets to see."""

import base64
import gzip
import hashlib
import logging

import pytest

from filmroom import observe
from filmroom.asgi.compress import Gzip
from filmroom.asgi.door import route_of
from filmroom.asgi.headers import inline_hashes
from filmroom.dicomweb.answers import Pieces


async def test_a_bug_is_an_apology_without_its_text(ask, caplog):
    answer = await ask("viewer").get("/dicom-web/boom")
    assert answer.status_code == 500
    assert "Hopper" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert any(record.exc_info for record in caplog.records)


async def test_a_bug_in_the_log_does_not_quote_a_data_set(ask, caplog):
    await ask("viewer").get("/dicom-web/boom")
    lines = [observe.JsonLines().format(record) for record in caplog.records]
    assert any("ValueError at" in line for line in lines)
    assert not any("Hopper" in line for line in lines)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/dicom-web/studies", 405),
        ("PUT", "/api/session", 405),
        ("POST", "/livez", 405),
        ("PATCH", "/nothing/here", 405),
        ("GET", "/api/nothing", 404),
    ],
)
async def test_what_is_not_there_or_not_done_is_a_problem_that_says_so(ask, method, path, status):
    answer = await ask("admin").request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "path", ["/login", "/livez", "/dicom-web/studies", "/dicom-web/boom", "/ohif/", "/nothing.js"]
)
async def test_every_answer_carries_the_security_headers(ask, path):
    headers = (await ask("admin").get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-request-id"]
    assert headers["cache-control"]


async def test_refusals_carry_them_too(ask):
    headers = (await ask().get("/dicom-web/studies")).headers
    assert headers["x-content-type-options"] == "nosniff"


async def test_our_pages_allow_no_inline_and_no_evaluated_script(ask):
    policy = (await ask().get("/login")).headers["content-security-policy"]
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in script.split()


async def test_ohif_may_evaluate_below_its_own_path_only(ask):
    client = ask("viewer")
    for path in ("/ohif/", "/ohif/viewer", "/ohif/app.bundle.0f6159c501addfe9.js"):
        assert " 'unsafe-eval'" in (await client.get(path)).headers["content-security-policy"]
    for path in ("/", "/ohifx", "/dicom-web/studies"):
        policy = (await client.get(path)).headers["content-security-policy"]
        assert " 'unsafe-eval'" not in policy


async def test_inline_scripts_of_ohif_are_known_by_their_digest(ask):
    policy = (await ask("viewer").get("/ohif/")).headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(b"boot()").digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert inline_hashes('<script src="/a.js"></script>') == []


async def test_data_can_run_no_script(ask):
    policy = (await ask("viewer").get("/dicom-web/studies")).headers["content-security-policy"]
    assert "script-src 'none'" in policy


async def test_https_is_promised_only_when_it_is_there(make_app, ask_of):
    plain = await ask_of(make_app())().get("/login")
    secure = await ask_of(make_app(http={"public_url": "https://pacs.example"}))().get("/login")
    assert "strict-transport-security" not in plain.headers
    assert "strict-transport-security" in secure.headers


# -- compression -------------------------------------------------------------------------------


async def test_json_is_compressed(ask):
    client = ask("viewer", **{"accept-encoding": "gzip"})
    async with client.stream("GET", "/dicom-web/large") as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["etag"] == 'W/"abc"'
    assert int(answer.headers["content-length"]) == len(raw) < 5000
    assert len(gzip.decompress(raw)) > 100_000


async def test_a_stream_is_compressed_as_a_stream(ask):
    client = ask("viewer", **{"accept-encoding": "gzip"})
    plain = await ask("viewer", **{"accept-encoding": "identity"}).get("/dicom-web/stream")
    answer = await client.get("/dicom-web/stream")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == plain.content


@pytest.mark.parametrize("accept", ["identity", "gzip;q=0", "br", "gzip; q=0.0"])
async def test_who_does_not_want_it_gets_it_plain(ask, accept):
    answer = await ask("viewer", **{"accept-encoding": accept}).get("/dicom-web/large")
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/dicom-web/multipart", "/dicom-web/studies"])
async def test_images_and_short_answers_stay_as_they_are(ask, path):
    answer = await ask("viewer", **{"accept-encoding": "gzip"}).get(path)
    assert "content-encoding" not in answer.headers


# -- counting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "template"),
    [
        ("/a/1.2/b/1.3", {"x": "1.2", "y": "1.3"}, "/a/{x}/b/{y}"),
        ("/a/1.2/b/c/d", {"x": "1.2", "path": "c/d"}, "/a/{x}/b/{path}"),
        ("/a/1.2/b/1.2/1.2", {"x": "1.2", "path": "1.2/1.2"}, "/a/{x}/b/{path}"),
        ("/a/", {"path": ""}, "/a/"),
        ("/a/5", {"number": 5}, "/a/{number}"),
    ],
)
def test_a_template_has_none_of_what_was_asked(path, params, template):
    assert route_of({"endpoint": None, "path": path, "path_params": params}) == template


async def test_requests_are_counted_by_template_never_by_path(ask):
    client = ask("viewer")
    await client.get("/dicom-web/studies/1.2.840.9999")
    await client.get("/dicom-web/no-such-thing")
    text = (await client.get("/metrics")).text
    assert 'filmroom_http_request_seconds_count{method="GET",route="/dicom-web/{path}"' in text
    assert "1.2.840.9999" not in text
    assert "filmroom_archive_studies 2.0" in text
    assert "filmroom_process_resident_memory_bytes" in text


async def test_metrics_are_answered_while_the_index_is_away(ask, archive):
    archive.index.away = True
    answer = await ask().get("/metrics")
    assert answer.status_code == 200
    assert "filmroom_archive_studies" not in answer.text


async def test_ready_means_that_the_index_answers(ask, archive):
    assert (await ask().get("/readyz")).status_code == 200
    archive.index.away = True
    answer = await ask().get("/readyz")
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert (await ask().get("/livez")).status_code == 200


async def test_a_node_that_stops_is_not_ready(make_app, ask_of):
    answer = await ask_of(make_app(ready=lambda: "stopping"))().get("/readyz")
    assert (answer.status_code, answer.text) == (503, "stopping\n")


async def test_requests_are_logged_with_who_and_how_long_without_their_query(ask, caplog):
    caplog.set_level(logging.DEBUG)
    await ask("viewer").get("/dicom-web/studies?PatientName=Hopper")
    record = next(r for r in caplog.records if r.getMessage() == "request")
    assert record.principal.startswith("viewer")
    assert record.seconds >= 0
    assert "Hopper" not in str(record.__dict__)


async def test_an_answer_that_fits_one_packet_is_not_compressed():
    sent = []

    async def app(scope, receive, send):
        body = Pieces((b"[]",), {"Content-Type": "application/dicom+json"})
        await body(scope, receive, send)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    await Gzip(app)(scope, None, send)
    headers = dict(sent[0]["headers"])
    assert b"content-encoding" not in headers
    assert headers[b"content-length"] == b"2"
    assert [message["body"] for message in sent[1:]] == [b"[]"]
