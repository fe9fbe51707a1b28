"""Sessions end, tokens end, and neither can be read back."""

import pytest

from accounts import AccountsIndex, AClock
from filmroom.archive.access import ROLES
from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.records import User
from filmroom.security.credentials import SESSION, TOKEN, Credentials

HOUR = 3600.0
GRACE = User("grace", "", "radiologist")


@pytest.fixture
def clock():
    return AClock()


@pytest.fixture
def index():
    return AccountsIndex()


@pytest.fixture
def credentials(index, clock):
    return Credentials(index, clock, session_seconds=8 * HOUR, idle_seconds=HOUR / 2)


def test_a_session_is_its_user(credentials):
    secret = credentials.open_session(GRACE)
    found = credentials.find(secret, SESSION)
    assert (found.name, found.role, found.may) == ("grace", "radiologist", ROLES["radiologist"])


def test_the_secret_itself_is_kept_nowhere(credentials, index):
    secrets = [credentials.open_session(GRACE), credentials.make_token("t", "service", None)[0]]
    for kept in index._credentials.values():
        assert all(secret not in repr(kept) for secret in secrets)
        assert len(kept.digest) == 32


def test_an_idle_session_ends(credentials, clock):
    secret = credentials.open_session(GRACE)
    clock.time += HOUR / 2 + 1
    assert credentials.find(secret, SESSION) is None


def test_a_session_in_use_goes_on_but_not_for_ever(credentials, clock):
    secret = credentials.open_session(GRACE)
    for _ in range(23):
        clock.time += HOUR / 3
        assert credentials.find(secret, SESSION) is not None
    clock.time += HOUR / 3
    assert credentials.find(secret, SESSION) is None


def test_a_busy_session_is_written_rarely(credentials, index, clock):
    secret = credentials.open_session(GRACE)
    written = []
    keep = index.put_credential
    index.put_credential = lambda credential: (written.append(1), keep(credential))
    for _ in range(600):
        clock.time += 1
        credentials.find(secret, SESSION)
    assert len(written) <= 4


def test_a_closed_session_is_closed_at_once(credentials):
    secret = credentials.open_session(GRACE)
    credentials.find(secret, SESSION)
    credentials.close(secret)
    assert credentials.remembered(secret, SESSION) is None
    assert credentials.find(secret, SESSION) is None


def test_a_remembered_answer_is_believed_for_five_seconds(credentials, index, clock):
    secret = credentials.open_session(GRACE)
    credentials.find(secret, SESSION)
    index.forget_credentials_of("grace", SESSION)  # another node did
    assert credentials.remembered(secret, SESSION) is not None
    clock.time += 5.1
    assert credentials.remembered(secret, SESSION) is None
    assert credentials.find(secret, SESSION) is None


def test_a_token_ends_when_it_says(credentials, clock):
    secret, _ = credentials.make_token("gateway", "service", clock.time + 60)
    assert credentials.find(secret, TOKEN).name == "gateway"
    clock.time += 60
    assert credentials.remembered(secret, TOKEN) is None
    assert credentials.find(secret, TOKEN) is None


def test_a_session_is_no_token_and_a_token_no_session(credentials):
    session = credentials.open_session(GRACE)
    token, _ = credentials.make_token("gateway", "service", None)
    assert credentials.find(session, TOKEN) is None
    assert credentials.find(token, SESSION) is None
    credentials.find(session, SESSION)
    assert credentials.remembered(session, TOKEN) is None


def test_a_revoked_token_is_worthless(credentials):
    secret, _ = credentials.make_token("gateway", "service", None)
    credentials.find(secret, TOKEN)
    credentials.revoke_token("gateway")
    assert credentials.remembered(secret, TOKEN) is None
    assert credentials.find(secret, TOKEN) is None
    with pytest.raises(NotHeld):
        credentials.revoke_token("gateway")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
def test_a_token_needs_a_decent_name(credentials, name):
    with pytest.raises(Unintelligible):
        credentials.make_token(name, "service", None)


def test_a_token_name_is_taken_once(credentials):
    credentials.make_token("gateway", "service", None)
    with pytest.raises(Conflict):
        credentials.make_token("gateway", "viewer", None)


def test_a_token_needs_a_role_that_exists_and_a_future(credentials, clock):
    with pytest.raises(Unintelligible, match="roles are"):
        credentials.make_token("t", "emperor", None)
    with pytest.raises(Unintelligible, match="expired"):
        credentials.make_token("t", "viewer", clock.time - 1)


@pytest.mark.parametrize("secret", ["", "short", "x" * 100_000, "filmroom_" + "y" * 43])
def test_a_made_up_secret_is_nobody(credentials, secret):
    assert credentials.find(secret, TOKEN) is None


def test_what_has_expired_is_swept(credentials, index, clock):
    credentials.open_session(GRACE)
    credentials.make_token("t", "viewer", clock.time + 10)
    credentials.make_token("u", "viewer", None)
    clock.time += HOUR
    credentials.sweep()
    assert [c.name for c in index._credentials.values()] == ["u"]


def test_signing_in_sweeps_once_an_hour(credentials, index, clock):
    for _ in range(5):
        credentials.open_session(GRACE)
    clock.time += 2 * HOUR
    credentials.open_session(GRACE)
    assert len(index._credentials) == 1


def test_a_session_that_is_closed_while_it_is_renewed_stays_closed(credentials, index, clock):
    secret = credentials.open_session(GRACE)
    clock.time += HOUR / 4
    look = index.credential

    def closed_meanwhile(digest):
        found = look(digest)
        credentials.close(secret)
        return found

    index.credential = closed_meanwhile
    credentials.find(secret, SESSION)
    index.credential = look
    clock.time += 10
    assert credentials.remembered(secret, SESSION) is None
    assert credentials.find(secret, SESSION) is None
