"""Where settings come from: defaults < file < environment < command line, and who said what."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from filmroom.config.compressing import CompressRule
from filmroom.config.settings import PeerSettings, Settings
from filmroom.security.settings import Section

PREFIX = "FILMROOM__"
DEFAULT = "default"
_FILE = "_file"  # admin_password_file = "/run/secrets/x": the value is that file's content
_LARGEST_FILE = 1 << 20

Key = tuple[str, ...]  # ("dimse", "port")
Options = Mapping[Key, tuple[Any, str]]


class ConfigError(Exception):
    """The configuration cannot be used; the message has one line per mistake."""


@dataclass(frozen=True, slots=True)
class InForce:
    """One setting as it is now."""

    key: str  # "dimse.port"
    value: Any  # ready for JSON; secrets are masked
    source: str  # "default", "filmroom.toml:12", "FILMROOM__DIMSE__PORT", "--dimse-port"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each one was said."""

    settings: Settings
    sources: Mapping[Key, str]

    def in_force(self) -> list[InForce]:
        """Every setting, in the order of the reference page."""
        rows = []
        for key, field in FIELDS.items():
            value = _get(self.settings, key)
            shown = "***" if is_secret(field) and value else _plain(value)
            rows.append(InForce(".".join(key), shown, self.sources.get(key, DEFAULT)))
        return rows


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    options: Options | None = None,
) -> Loaded:
    """Read the configuration; ConfigError names every mistake with its place.

    options: key -> (value, how the user wrote it); a value of None is no opinion.
    """
    tree: dict[str, Any] = {}
    sources: dict[Key, str] = {}
    mistakes: list[str] = []
    for said, value, source in _said(file, environment, options or {}):
        try:
            key, value = _known(said, value)
        except ValueError as error:
            mistakes.append(f"{source}: {error}")
            continue
        _put(tree, key, value)
        sources[key] = source
    settings = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        mistakes += _mistakes(error, sources)
    if settings is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    return Loaded(settings, sources)


def fields(model: type[BaseModel], above: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """Every single setting of a model, with its key."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from fields(kind, (*above, name))
        else:
            yield (*above, name), field


FIELDS: dict[Key, FieldInfo] = dict(fields(Settings))
_SECTIONS = {key[0] for key in FIELDS if len(key) > 1}


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must not be shown, and may come from a file of its own."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


# -- what was said, in rising order of importance ------------------------------------


def _said(
    file: Path | None, environment: Mapping[str, str], options: Options
) -> Iterator[tuple[Key, Any, str]]:
    if file is not None:
        yield from _said_in_file(file)
    for name, text in environment.items():
        if name.startswith(PREFIX):
            key = tuple(name[len(PREFIX) :].lower().split("__"))
            yield key, _from_text(key, text), name
    for key, (value, source) in options.items():
        if value is not None:
            yield key, value, source


def _said_in_file(file: Path) -> Iterator[tuple[Key, Any, str]]:
    try:
        text = file.read_text("utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    lines = _lines(text)
    for name, value in tree.items():
        inside = value.items() if isinstance(value, dict) else [("", value)]
        for sub, leaf in inside:
            key = (name, sub) if sub else (name,)
            yield key, leaf, f"{file}:{lines.get(key, lines.get((name,), 1))}"


def _lines(text: str) -> dict[Key, int]:
    """Where in the file each key stands; good enough to point at, not to parse by."""
    table: Key = ()
    found: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\[?\s*([\w.-]+)", line):
            table = tuple(match[1].split("."))
            found.setdefault(table, number)
        elif match := re.match(r"""\s*["']?([\w-]+)["']?\s*[=.]""", line):
            found.setdefault((*table, match[1]), number)
    return found


def _from_text(key: Key, text: str) -> Any:
    """A value from the environment: lists as JSON or with commas, the rest as it stands."""
    field = FIELDS.get(key)
    if field is None or "tuple" not in str(field.annotation):
        return text
    if text.lstrip().startswith("["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return [part.strip() for part in text.split(",") if part.strip()]


# -- one key -----------------------------------------------------------------------------


def _known(said: Key, value: Any) -> tuple[Key, Any]:
    """The setting that was meant; ValueError says what is allowed instead."""
    if said in FIELDS:
        return said, value
    if said[-1].endswith(_FILE):
        key = (*said[:-1], said[-1].removesuffix(_FILE))
        if key in FIELDS and is_secret(FIELDS[key]):
            return key, _content(Path(str(value)))
    raise ValueError(_unknown(said))


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"the file {path} cannot be read") from None


def _unknown(said: Key) -> str:
    section = said[0]
    if section in _SECTIONS and len(said) > 1:
        names = [key[-1] for key in FIELDS if key[0] == section and len(key) > 1]
        where = f" in [{section}]"
    else:
        names = sorted({key[0] for key in FIELDS})
        where = ""
        said = (section,)
    near = difflib.get_close_matches(said[-1], names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{said[-1]!r} is no setting{where}{hint} Allowed: {', '.join(names)}"


def _put(tree: dict[str, Any], key: Key, value: Any) -> None:
    for name in key[:-1]:
        tree = tree.setdefault(name, {})
    tree[key[-1]] = value


def _get(settings: BaseModel, key: Key) -> Any:
    value: Any = settings
    for name in key:
        value = getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path | SecretStr) else value


def _mistakes(error: ValidationError, sources: Mapping[Key, str]) -> Iterator[str]:
    for mistake in error.errors(include_url=False, include_input=False):
        place = tuple(str(part) for part in mistake["loc"])
        said = next((sources[place[:n]] for n in (2, 1) if place[:n] in sources), "")
        text = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            inside = CompressRule if place[0] == "compress" else PeerSettings
            text = f"no such setting. Allowed: {', '.join(inside.model_fields)}"
        name = ".".join(place)
        yield ": ".join(part for part in (said, name, text) if part)
