"""The door: who is let in, who must wait, and what it costs to knock."""

import asyncio

import pytest

from accounts import CHEAP, PASSWORDS, AClock, an_index
from filmroom.security.settings import HttpSettings, SecuritySettings
from filmroom.security.signin import MustWait, SignIn, SignInFailed


@pytest.fixture
def clock():
    return AClock()


@pytest.fixture
def index():
    return an_index()


@pytest.fixture
def door(index, clock):
    door = SignIn(index, clock, SecuritySettings(), HttpSettings(), CHEAP)
    yield door
    door.shut()


@pytest.fixture
def checks(door, monkeypatch):
    """Every password check that is really made."""
    made = []
    check = door.users.check
    monkeypatch.setattr(door.users, "check", lambda n, p: (made.append(n), check(n, p))[1])
    return made


async def test_a_right_password_opens_a_session(door):
    secret, principal = await door.open("viewer", PASSWORDS["viewer"], "10.0.0.1")
    assert (await door.by_session(secret)) == principal
    assert principal.role == "viewer"


async def test_a_wrong_password_does_not(door):
    with pytest.raises(SignInFailed, match="wrong"):
        await door.open("viewer", "wrong", "10.0.0.1")


async def test_the_same_words_for_a_wrong_name_and_a_wrong_password(door):
    said = []
    for name in ("viewer", "nobody"):
        with pytest.raises(SignInFailed) as failed:
            await door.open(name, "wrong", "10.0.0.1")
        said.append(str(failed.value))
    assert said[0] == said[1]


async def test_after_five_failures_even_the_right_password_waits(door, clock, checks):
    for _ in range(5):
        with pytest.raises(SignInFailed):
            await door.open("viewer", "wrong", "10.0.0.1")
    with pytest.raises(MustWait):
        await door.open("viewer", PASSWORDS["viewer"], "10.0.0.1")
    assert len(checks) == 5
    clock.time += 31
    await door.open("viewer", PASSWORDS["viewer"], "10.0.0.1")


async def test_failures_sent_all_at_once_do_not_slip_through(door, checks):
    tries = [door.open("viewer", f"wrong {n}", "10.0.0.1") for n in range(50)]
    await asyncio.gather(*tries, return_exceptions=True)
    assert len(checks) == 5


async def test_a_program_that_sends_its_password_each_time_is_checked_once(door, checks):
    for _ in range(20):
        await door.by_password("technologist", PASSWORDS["technologist"], "127.0.0.1")
    assert len(checks) == 1


async def test_twenty_connections_at_once_share_one_check(door, checks):
    calls = [
        door.by_password("technologist", PASSWORDS["technologist"], "127.0.0.1") for _ in range(20)
    ]
    assert len(set(await asyncio.gather(*calls))) == 1
    assert len(checks) == 1


async def test_a_remembered_password_is_not_another_one(door):
    await door.by_password("viewer", PASSWORDS["viewer"], "127.0.0.1")
    with pytest.raises(SignInFailed):
        await door.by_password("viewer", "wrong", "127.0.0.1")


async def test_a_remembered_password_is_forgotten_when_an_account_changes(door):
    await door.by_password("viewer", PASSWORDS["viewer"], "127.0.0.1")
    await door.run(door.users.change, "viewer", disabled=True)
    door.changed()
    with pytest.raises(SignInFailed):
        await door.by_password("viewer", PASSWORDS["viewer"], "127.0.0.1")


async def test_a_session_is_looked_up_once_in_five_seconds(door, index, clock):
    secret, _ = await door.open("viewer", PASSWORDS["viewer"], "10.0.0.1")
    index.lookups = 0
    for _ in range(100):
        await door.by_session(secret)
    assert index.lookups == 1


async def test_an_absurd_password_is_not_even_hashed(door, checks):
    with pytest.raises(SignInFailed):
        await door.open("viewer", "x" * 1_000_000, "10.0.0.1")
    assert checks == []


async def test_no_password_is_in_the_log(door, caplog):
    caplog.set_level(0)
    await door.open("viewer", PASSWORDS["viewer"], "10.0.0.1")
    with pytest.raises(SignInFailed):
        await door.open("viewer", "a wrong and secret word", "10.0.0.1")
    said = " ".join(str(record.__dict__) for record in caplog.records)
    assert "secret word" not in said
    assert PASSWORDS["viewer"] not in said


async def test_a_password_changed_while_it_is_checked_is_not_remembered(door, monkeypatch):
    look = door.users.check

    def changed_meanwhile(name, password):
        found = look(name, password)
        door.changed()
        return found

    monkeypatch.setattr(door.users, "check", changed_meanwhile)
    await door.by_password("viewer", PASSWORDS["viewer"], "10.0.0.1")
    assert not door._verified
