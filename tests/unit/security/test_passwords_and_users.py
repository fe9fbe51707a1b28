"""Accounts: the first one, the last one, and what a password must be."""

import pytest

from accounts import CHEAP, AccountsIndex
from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.records import Credential
from filmroom.security.passwords import Hasher
from filmroom.security.settings import SecuritySettings
from filmroom.security.users import Users


def some_users(**settings):
    return Users(AccountsIndex(), SecuritySettings(**settings), CHEAP)


def test_a_first_start_makes_an_administrator_and_tells_his_password_once():
    users = some_users()
    password = users.make_first()
    assert users.check("admin", password).role == "admin"
    assert users.make_first() is None


def test_a_configured_first_password_is_used_and_not_told():
    users = some_users(admin_password="given by the operator")
    assert users.make_first() is None
    assert users.check("admin", "given by the operator")


def test_a_configured_password_does_not_change_an_account_that_exists():
    users = some_users()
    password = users.make_first()
    again = Users(users._index, SecuritySettings(admin_password="another one"), CHEAP)
    again.make_first()
    assert again.check("admin", password)
    assert again.check("admin", "another one") is None


@pytest.mark.parametrize("password", ["", "admin", "changeme"])
def test_a_weak_first_password_is_refused(password):
    with pytest.raises(Unintelligible):
        some_users(admin_password=password).make_first()


def test_only_an_argon2id_hash_is_kept():
    users = some_users()
    user = users.add("grace", "a compiler is a friend", "viewer")
    assert user.password_hash.startswith("$argon2id$")
    assert "compiler" not in repr(user)


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaaa", "grace.hopper", "x" * 2000])
def test_a_weak_password_is_refused(password):
    with pytest.raises(Unintelligible):
        some_users().add("grace.hopper", password, "viewer")


@pytest.mark.parametrize(
    "name", ["", "../etc", "a b", "a\nb", "-x", "<script>", "x" * 65, "ä", "a\\b"]
)
def test_a_hostile_name_is_refused(name):
    with pytest.raises(Unintelligible):
        some_users().add(name, "a compiler is a friend", "viewer")


def test_a_role_must_exist():
    with pytest.raises(Unintelligible, match="technologist"):
        some_users().add("grace", "a compiler is a friend", "emperor")


def test_a_name_is_taken_once():
    users = some_users()
    users.add("grace", "a compiler is a friend", "viewer")
    with pytest.raises(Conflict):
        users.add("grace", "a compiler is a friend", "viewer")


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"disabled": True}])
def test_the_last_administrator_stays_one(change):
    users = some_users()
    users.make_first()
    with pytest.raises(Conflict, match="last administrator"):
        users.change("admin", **change)
    with pytest.raises(Conflict, match="last administrator"):
        users.remove("admin")
    users.add("second", "a compiler is a friend", "admin")
    users.change("admin", **change)


def test_a_disabled_account_does_not_sign_in():
    users = some_users()
    users.add("grace", "a compiler is a friend", "viewer")
    users.change("grace", disabled=True)
    assert users.check("grace", "a compiler is a friend") is None


def test_a_changed_account_is_signed_out():
    users = some_users()
    users.add("grace", "a compiler is a friend", "viewer")
    users._index.put_credential(Credential(b"x", "session", "grace", "viewer", 0, None))
    users._index.put_credential(Credential(b"y", "token", "grace", "viewer", 0, None))
    users.change("grace", password="nanoseconds of wire")
    assert users._index.credential(b"x") is None
    assert users._index.credential(b"y") is not None


def test_who_is_not_there_cannot_be_changed():
    with pytest.raises(NotHeld):
        some_users().change("nobody", disabled=True)


def test_no_such_user_costs_a_hash_too(monkeypatch):
    users = some_users()
    verified = []

    class Counting:
        def hash(self, password):
            return "a hash"

        def verify(self, password_hash, password):
            verified.append(password_hash)

    monkeypatch.setattr(users, "_hasher", Hasher(Counting()))
    assert users.check("nobody", "anything at all") is None
    assert len(verified) == 1
