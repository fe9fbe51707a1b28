"""`filmroom user …` and `filmroom token …`: who may sign in."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filmroom.cli.common import AsJson, ConfigFile, DataFolder, fail, index_of, put, settings_from

if TYPE_CHECKING:
    from filmroom.archive.stores import Index
    from filmroom.config import Settings
    from filmroom.security.credentials import Credentials
    from filmroom.security.users import Users

user = typer.Typer(no_args_is_help=True, help="People: make, change and remove accounts.")
token = typer.Typer(no_args_is_help=True, help="Programs: make and revoke bearer tokens.")

Name = Annotated[str, typer.Argument(help="User name.")]
RoleOption = Annotated[
    str, typer.Option("--role", help="admin, radiologist, technologist, viewer or service.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Read the password from a file (`-` for standard input) instead of asking. "
        "There is no option for the password itself: other users could read it.",
    ),
]
_DURATION = re.compile(r"(\d+)([dhm]?)")
_SECONDS = {"": 86400, "d": 86400, "h": 3600, "m": 60}


@user.command("list")
def list_users(config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Every account, its role, and whether it is disabled."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        rows = [
            {"name": u.name, "role": u.role, "disabled": u.disabled}
            for u in _users(index, settings).all()
        ]
    if as_json:
        put(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']}\t{row['role']}{'	disabled' if row['disabled'] else ''}")


@user.command("add")
def add_user(
    name: Name,
    role: RoleOption = "viewer",
    password_file: PasswordFile = None,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Make an account; the password is asked for."""
    settings = settings_from(config, data).settings
    password = _password(password_file)
    with index_of(settings) as index:
        _users(index, settings).add(name, password, role)
    typer.echo(f"made {name} ({role})")


@user.command("password")
def change_password(
    name: Name,
    password_file: PasswordFile = None,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Give an account a new password; whoever is signed in under it is signed out."""
    settings = settings_from(config, data).settings
    password = _password(password_file)
    with index_of(settings) as index:
        _users(index, settings).change(name, password=password)
    typer.echo(f"{name} has a new password")


@user.command("role")
def change_role(name: Name, role: str, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Give an account another role."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        _users(index, settings).change(name, role=role)
    typer.echo(f"{name} is {role}")


@user.command("disable")
def disable_user(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Let nobody sign in under this account until further notice."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        _users(index, settings).change(name, disabled=not undo)
    typer.echo(f"{name} is {'enabled' if undo else 'disabled'}")


@user.command("remove")
def remove_user(name: Name, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Remove an account."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        _users(index, settings).remove(name)
    typer.echo(f"removed {name}")


@token.command("create")
def create_token(
    role: Annotated[str, typer.Option("--role", help="What the program may do, e.g. service.")],
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="D", help="Days from now; also 12h, 90m.")
    ] = "",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once: only its digest is kept."""
    settings = settings_from(config, data).settings
    now = time.time()
    expires_at = now + _seconds(expires) if expires else None
    name = name or f"{role}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
    with index_of(settings) as index:
        secret, made = _credentials(index, settings).make_token(name, role, expires_at)
    if as_json:
        put({"token": secret, "name": made.name, "role": role, "expires_at": expires_at})
    else:
        typer.echo(secret)


@token.command("list")
def list_tokens(
    config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False
) -> None:
    """Every token: its name, role and end. The tokens themselves are not kept."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        tokens = _credentials(index, settings).tokens()
    if as_json:
        keys = ("name", "role", "created_at", "expires_at")
        put([{key: getattr(found, key) for key in keys} for found in tokens])
        return
    for found in tokens:
        end = "never" if found.expires_at is None else _day(found.expires_at)
        typer.echo(f"{found.name}\t{found.role}\tmade {_day(found.created_at)}\texpires {end}")


@token.command("revoke")
def revoke_token(name: str, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Make a token worthless; a running server notices within five seconds."""
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        _credentials(index, settings).revoke_token(name)
    typer.echo(f"revoked {name}")


def _users(index: Index, settings: Settings) -> Users:
    from filmroom.security.passwords import Hasher
    from filmroom.security.users import Users

    return Users(index, settings.security, Hasher())


def _credentials(index: Index, settings: Settings) -> Credentials:
    from filmroom.asgi.app import SystemClock
    from filmroom.security.credentials import Credentials

    http = settings.http
    return Credentials(
        index,
        SystemClock(),
        session_seconds=http.session_hours * 3600,
        idle_seconds=http.idle_minutes * 60,
    )


def _password(file: Path | None) -> str:
    if file is not None and str(file) != "-":
        try:
            return file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise fail(f"the file {file} cannot be read") from None
    if file is not None or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter("a number of days, or like 12h, 90m", param_hint="--expires")
    return int(match[1]) * _SECONDS[match[2]]


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
