"""Signing in, being somebody, signing out."""

import pytest

from accounts import PASSWORDS


async def test_signing_in_says_who_one_is_and_where_modalities_send_to(visit):
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    answer = await visit().post("/api/session", json=body)
    assert answer.status_code == 200
    said = answer.json()
    assert said["user"] == "viewer"
    assert said["role"] == "viewer"
    assert said["may"] == ["query", "retrieve"]
    assert said["ae_title"] == "FILMROOM"
    assert said["dimse_port"] == 11112


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(visit):
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    answer = await visit().post("/api/session", json=body)
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("filmroom_session=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    over_tls = await visit().post("https://archive.test/api/session", json=body)
    assert "; secure" in over_tls.headers["set-cookie"].lower()


TLS = "https://archive.test/api/session"


async def test_over_tls_nobody_next_door_can_put_a_cookie_in_our_place(visit):
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    client = visit()
    cookie = (await client.post(TLS, json=body)).headers["set-cookie"]
    assert cookie.startswith("__Host-filmroom_session=")
    assert "domain" not in cookie.lower()
    assert (await client.get(TLS)).status_code == 200
    tossed = visit()
    tossed.cookies.set("filmroom_session", client.cookies["__Host-filmroom_session"])
    assert (await tossed.get(TLS)).status_code == 401


async def test_signing_out_over_tls_takes_the_cookie_away(visit):
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    client = visit()
    await client.post(TLS, json=body)
    gone = (await client.delete(TLS)).headers["set-cookie"]
    assert gone.startswith('__Host-filmroom_session="";')
    assert "; secure" in gone.lower()  # else browsers do not take it
    assert not client.cookies
    assert (await client.get(TLS)).status_code == 401


async def test_a_session_secret_has_256_bits(visit):
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    seen = set()
    for _ in range(3):
        answer = await visit().post("/api/session", json=body)
        seen.add(answer.cookies["filmroom_session"])
    assert len(seen) == 3
    assert all(len(secret) >= 43 for secret in seen)


async def test_a_wrong_password_is_401(visit):
    answer = await visit().post("/api/session", json={"user": "viewer", "password": "no"})
    assert answer.status_code == 401
    assert "wrong" in answer.json()["detail"]
    assert "set-cookie" not in answer.headers


async def test_guessing_is_429_with_the_time_to_wait(visit):
    client = visit()
    for _ in range(5):
        await client.post("/api/session", json={"user": "viewer", "password": "no"})
    body = {"user": "viewer", "password": PASSWORDS["viewer"]}
    answer = await client.post("/api/session", json=body)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 30


async def test_signing_out_ends_the_session_not_just_the_cookie(enter, visit):
    client = await enter("viewer")
    secret = client.cookies["filmroom_session"]
    assert (await client.delete("/api/session")).status_code == 204
    thief = visit()
    thief.cookies.set("filmroom_session", secret)
    assert (await thief.get("/api/session")).status_code == 401


async def test_an_idle_session_ends(enter, clock):
    client = await enter("viewer")
    clock.time += 29 * 60
    assert (await client.get("/api/session")).status_code == 200
    clock.time += 31 * 60
    assert (await client.get("/api/session")).status_code == 401


async def test_a_person_changes_his_own_password_and_stays(enter, visit):
    here, elsewhere = await enter("viewer"), await enter("viewer")
    body = {"old": PASSWORDS["viewer"], "new": "nanoseconds of wire"}
    assert (await here.put("/api/session/password", json=body)).status_code == 204
    assert (await here.get("/api/session")).status_code == 200
    assert (await elsewhere.get("/api/session")).status_code == 401
    await enter("viewer", "nanoseconds of wire")


async def test_a_new_password_needs_the_old_one(enter):
    client = await enter("viewer")
    body = {"old": "wrong", "new": "nanoseconds of wire"}
    assert (await client.put("/api/session/password", json=body)).status_code == 403


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"", "application/json", "missing: user, password"),
        (b"[1]", "application/json", "object"),
        (b"[" * 100_000, "application/json", "long"),
        (b"[" * 50_000, "application/json", "not JSON"),
        (b"{", "application/json", "not JSON"),
        (b'{"user": 1, "password": "x"}', "application/json", "'user' must be str"),
        (b'{"user": "a", "password": "b", "c": 1}', "application/json", "not known"),
        (b"user=a&password=b", "application/x-www-form-urlencoded", "JSON"),
        (b'{"user": "a", "password": "b"}', "text/plain", "JSON"),
    ],
)
async def test_a_body_that_is_no_sign_in_is_told_why(visit, content, kind, says):
    answer = await visit().post("/api/session", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
