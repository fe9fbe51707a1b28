"""Accounts and tokens, over HTTP."""

import httpx

from accounts import PASSWORDS

GRACE = {"name": "grace", "password": "a compiler is a friend", "role": "technologist"}


async def test_an_administrator_makes_an_account(enter):
    admin = await enter("admin")
    answer = await admin.post("/api/users", json=GRACE)
    assert answer.status_code == 201
    assert answer.json() == {"name": "grace", "role": "technologist", "disabled": False}
    client = await enter("grace", GRACE["password"])
    assert (await client.get("/api/session")).json()["may"] == ["query", "retrieve", "store"]


async def test_no_hash_leaves_the_server(enter):
    admin = await enter("admin")
    text = (await admin.get("/api/users")).text
    assert "argon2" not in text
    assert '"admin"' in text


async def test_a_name_taken_is_409_and_a_weak_password_400(enter):
    admin = await enter("admin")
    await admin.post("/api/users", json=GRACE)
    assert (await admin.post("/api/users", json=GRACE)).status_code == 409
    weak = {**GRACE, "name": "other", "password": "short"}
    answer = await admin.post("/api/users", json=weak)
    assert answer.status_code == 400
    assert "10 characters" in answer.json()["detail"]


async def test_a_disabled_account_is_out_at_once(enter):
    admin, viewer = await enter("admin"), await enter("viewer")
    await admin.patch("/api/users/viewer", json={"disabled": True})
    assert (await viewer.get("/api/session")).status_code == 401


async def test_a_role_taken_away_is_gone_at_once(enter):
    admin = await enter("admin")
    await admin.post("/api/users", json={**GRACE, "role": "admin"})
    grace = await enter("grace", GRACE["password"])
    assert (await grace.get("/api/users")).status_code == 200
    await admin.patch("/api/users/grace", json={"role": "viewer"})
    assert (await grace.get("/api/users")).status_code == 401
    assert (await (await enter("grace", GRACE["password"])).get("/api/users")).status_code == 403


async def test_the_last_administrator_cannot_go(enter):
    admin = await enter("admin")
    assert (await admin.delete("/api/users/admin")).status_code == 409


async def test_who_is_not_there_is_404(enter):
    admin = await enter("admin")
    assert (await admin.delete("/api/users/nobody")).status_code == 404
    assert (await admin.delete("/api/tokens/nothing")).status_code == 404


async def test_a_token_is_shown_once_and_works_until_revoked(app, enter):
    admin = await enter("admin")
    answer = await admin.post("/api/tokens", json={"name": "gateway", "role": "service"})
    secret = answer.json()["token"]
    assert answer.status_code == 201
    assert secret not in (await admin.get("/api/tokens")).text
    program = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://archive.test",
        headers={"authorization": f"Bearer {secret}"},
    )
    assert (await program.get("/api/session")).json()["user"] == "gateway"
    assert (await admin.delete("/api/tokens/gateway")).status_code == 204
    assert (await program.get("/api/session")).status_code == 401


async def test_a_token_with_a_slash_in_its_name_can_be_revoked(enter):
    admin = await enter("admin")
    body = {"name": "ward 3/gateway", "role": "service"}
    assert (await admin.post("/api/tokens", json=body)).status_code == 201
    assert (await admin.delete("/api/tokens/ward%203/gateway")).status_code == 204
    assert (await admin.get("/api/tokens")).json() == []


async def test_a_token_ends_after_its_days(enter, clock):
    admin = await enter("admin")
    body = {"name": "gateway", "role": "service", "expires_in_days": 1.5}
    made = (await admin.post("/api/tokens", json=body)).json()
    assert made["expires_at"] == clock.time + 1.5 * 86400


async def test_a_program_cannot_change_its_makers_password(app, enter):
    admin = await enter("admin")
    body = {"name": "admin", "role": "admin"}  # a token may be called like a person
    secret = (await admin.post("/api/tokens", json=body)).json()["token"]
    program = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://archive.test",
        headers={"authorization": f"Bearer {secret}"},
    )
    change = {"old": PASSWORDS["admin"], "new": "nanoseconds of wire"}
    assert (await program.put("/api/session/password", json=change)).status_code == 403
