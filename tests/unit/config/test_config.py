"""Settings: who said what, and what is said of mistakes."""

import re
from pathlib import Path

import pytest

from filmroom.config import ConfigError, Settings, ae_title, load, parse_peer
from filmroom.config.settings import BlobSettings
from filmroom.config.sources import FIELDS
from filmroom.index.engine import Place

POSTGRESQL = 'url = "postgresql://db/x"\n'


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "filmroom.toml"
        path.write_text(text)
        return path

    return written


def mistakes(**sources) -> str:
    with pytest.raises(ConfigError) as error:
        load(**{"environment": {}, **sources})
    return str(error.value)


def test_without_a_word_there_are_sensible_settings():
    settings = load(environment={}).settings
    assert settings.dimse.port == 11112
    assert settings.dimse.ae_titles == ("FILMROOM",)
    assert settings.dimse.unknown_peers == ("echo", "store")
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.index_place.url.endswith("/filmroom-data/index.sqlite")
    assert settings.blobs_folder == Path("filmroom-data")


def test_the_command_line_beats_the_environment_which_beats_the_file(write):
    file = write("[dimse]\nport = 1\nartim_seconds = 1\nidle_seconds = 1\n")
    environment = {"FILMROOM__DIMSE__PORT": "2", "FILMROOM__DIMSE__ARTIM_SECONDS": "2"}
    loaded = load(
        file=file, environment=environment, options={("dimse", "port"): (3, "--dimse-port")}
    )
    dimse = loaded.settings.dimse
    assert (dimse.port, dimse.artim_seconds, dimse.idle_seconds) == (3, 2, 1)
    said = {row.key: row.source for row in loaded.in_force()}
    assert said["dimse.port"] == "--dimse-port"
    assert said["dimse.artim_seconds"] == "FILMROOM__DIMSE__ARTIM_SECONDS"
    assert said["dimse.idle_seconds"] == f"{file}:4"
    assert said["dimse.host"] == "default"


def test_every_key_can_be_given_in_the_environment():
    for key, field in FIELDS.items():
        if key[0] == "peers" or field.is_required():
            continue
        name = "__".join(("FILMROOM", *key)).upper()
        with pytest.raises(ConfigError, match=name):
            load(environment={name + "X": "1"})


def test_an_unknown_key_is_an_error_that_says_what_is_allowed(write):
    file = write('data = "x"\n[dimse]\nprot = 104\n[htpp]\nport = 1\n')
    said = mistakes(file=file, environment={"FILMROOM__HTTP__PROT": "1", "FILMROOM__DATTA": "x"})
    assert f"{file}:3: 'prot' is no setting in [dimse]; did you mean 'port'?" in said
    assert f"{file}:5: 'htpp' is no setting; did you mean 'http'?" in said
    assert "FILMROOM__HTTP__PROT: 'prot'" in said
    assert "FILMROOM__DATTA" in said
    assert "Allowed: host, port" in said


def test_a_bad_value_is_told_with_its_place(write):
    file = write("[dimse]\nport = 70000\n\n[archive]\nduplicates = 'guess'\n")
    said = mistakes(file=file)
    assert f"{file}:2: dimse.port: " in said
    assert f"{file}:5: archive.duplicates: " in said
    assert "keep-first" in said


def test_a_file_that_is_no_toml_is_told_with_its_place(write):
    assert "line 1" in mistakes(file=write("port = = 1"))
    assert "cannot be read" in mistakes(file=Path("/nowhere/filmroom.toml"))


def test_a_secret_may_lie_in_a_file_of_its_own(write, tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    environment = {"FILMROOM__SECURITY__ADMIN_PASSWORD_FILE": str(tmp_path / "secret")}
    security = load(environment=environment).settings.security
    assert security.admin_password.get_secret_value() == "from a file"
    file = write(f'[security]\nadmin_password_file = "{tmp_path / "secret"}"\n')
    security = load(file=file, environment={}).settings.security
    assert security.admin_password.get_secret_value() == "from a file"


def test_a_secret_file_that_is_missing_is_an_error_not_no_secret():
    said = mistakes(environment={"FILMROOM__SECURITY__ADMIN_PASSWORD_FILE": "/nowhere"})
    assert "ADMIN_PASSWORD_FILE: the file /nowhere cannot be read" in said


def test_what_is_no_secret_has_no_file():
    assert "'port_file'" in mistakes(environment={"FILMROOM__DIMSE__PORT_FILE": "/etc/passwd"})


def test_a_secret_is_shown_nowhere(write):
    file = write('[security]\nadmin_password = "hunter2hunter2"\n[dimse]\nport = "x"\n')
    assert "hunter2" not in mistakes(file=file)
    loaded = load(
        environment={
            "FILMROOM__SECURITY__ADMIN_PASSWORD": "hunter2hunter2",
            "FILMROOM__INDEX__URL": "postgresql://filmroom:hunter2@db/filmroom",
        }
    )
    assert "hunter2" not in repr(loaded.settings.security)
    assert "hunter2" not in str(loaded.in_force())


def test_a_wrong_secret_is_not_repeated_in_the_complaint():
    said = mistakes(environment={"FILMROOM__INDEX__URL": "mysql://filmroom:hunter2@db/x"})
    assert "sqlite:///" in said
    assert "hunter2" not in said


def test_lists_in_the_environment_come_with_commas_or_as_json():
    for text in ("ONE, TWO", '["ONE", "TWO"]'):
        dimse = load(environment={"FILMROOM__DIMSE__AE_TITLES": text}).settings.dimse
        assert dimse.ae_titles == ("ONE", "TWO")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().dimse.port = 1


@pytest.mark.parametrize("text", ["A", "  FILMROOM ", "SIXTEEN-LETTERS-", "A B", "ct_1.local"])
def test_an_ae_title_is_trimmed(text):
    assert ae_title(text) == text.strip()


@pytest.mark.parametrize("text", ["", "   ", "A\\B", "SEVENTEEN-LETTERS", "A\nB", "É", "A\x00"])
def test_what_is_no_ae_title_is_refused(text):
    with pytest.raises(ValueError, match="AE title"):
        ae_title(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT1=10.0.0.5:104", ("CT1", "10.0.0.5", 104, {"echo", "store", "query", "retrieve"})),
        ("CT1=ct1.example:104:store", ("CT1", "ct1.example", 104, {"store"})),
        ("CT1=[::1]:104:store+query", ("CT1", "::1", 104, {"store", "query"})),
        ("*=127.0.0.1:0:echo", ("*", "127.0.0.1", 0, {"echo"})),
        ("A B=h:1:ups", ("A B", "h", 1, {"ups"})),
    ],
)
def test_a_peer_in_one_word(text, expected):
    (peer,) = load(environment={}, options={("peers",): ([text], "--peer")}).settings.peer_records
    assert (peer.ae_title, peer.host, peer.port, set(peer.may)) == expected


def test_a_peer_may_do_all_but_administer():
    (peer,) = Settings.model_validate({"peers": ["X=h:1:all"]}).peer_records
    assert "administer" not in peer.may
    assert len(peer.may) == 8


@pytest.mark.parametrize("text", ["", "X", "X=h", "X=h:x", "=h:1", "X=:1", "X=h:1:", "X=a b:1"])
def test_a_peer_in_wrong_words_is_told_the_right_ones(text):
    said = mistakes(options={("peers",): ([text], "--peer")})
    assert "--peer" in said


@pytest.mark.parametrize("text", ["X=h:1:administer", "X=h:1:everything", "X=h:99999:store"])
def test_a_peer_with_wrong_rights_or_port_is_refused(text):
    assert "peers.0" in mistakes(options={("peers",): ([text], "--peer")})


def test_peers_in_the_file_are_tables(write):
    file = write(
        '[[peers]]\nae_title = "CT1"\nhost = "ct1"\nport = 104\nmay = ["store"]\n'
        '[[peers]]\nae_title = "CT2"\nhost = "ct2"\nport = 104\nrigths = ["store"]\n'
    )
    said = mistakes(file=file)
    assert "peers.1.rigths" in said
    assert "Allowed: ae_title" in said


def test_a_peer_is_named_once():
    with pytest.raises(ValueError, match="twice"):
        Settings.model_validate({"peers": ["X=h:1", "X=h:2"]})


def test_parse_peer_leaves_rights_out_when_none_are_said():
    assert "may" not in parse_peer("X=h:1")


def test_a_certificate_needs_its_key():
    said = mistakes(environment={"FILMROOM__HTTP__TLS_CERTIFICATE": "/x.pem"})
    assert "go together" in said


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"http": {"host": "0.0.0.0"}}, "without TLS"),
        ({"dimse": {"unknown_peers": ["echo", "query"]}}, "unknown_peers may read"),
        ({"peers": ["*=127.0.0.1:104:all"]}, "any calling AE title"),
    ],
)
def test_what_is_unsafe_is_told(sections, says):
    (warning,) = Settings.model_validate(sections).warnings
    assert says in warning


def test_what_is_safe_needs_no_warning():
    proxied = {"http": {"host": "0.0.0.0", "public_url": "https://pacs.example"}}
    assert Settings().warnings == []
    assert Settings.model_validate(proxied).warnings == []


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("", None),
        ("file:///srv/films", None),
        ("s3://films", ("s3://films", {})),
        (
            "s3://films/archive?endpoint=http://127.0.0.1:8333&region=eu-central-1",
            ("s3://films/archive", {"endpoint": "http://127.0.0.1:8333", "region": "eu-central-1"}),
        ),
        ("az://films", ("az://films", {})),
        ("gs://films/a/b", ("gs://films/a/b", {})),
    ],
)
def test_blobs_are_files_or_in_an_object_store(url, store):
    blobs = BlobSettings(url=url)
    assert blobs.store == store


@pytest.mark.parametrize(
    "url", ["s3:///archive", "s3://films?colour=green", "ftp://films", "/srv/films", "s3:films"]
)
def test_what_names_no_store_is_refused(url):
    with pytest.raises(ValueError):
        BlobSettings(url=url)


def test_what_travels_lies_in_the_data_folder_when_blobs_are_elsewhere(tmp_path):
    settings = Settings(data=tmp_path, blobs={"url": "s3://films"})
    assert settings.blobs_folder == tmp_path


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('namespace = "Films"', "index.namespace.*a-z"),
        ('namespace = "pg_films"', "not with pg_"),
        ('listen_url = "mysql://x"', "postgresql://"),
        ('url = "sqlite:////x"\nnamespace = "films"', "namespace is for an index on PostgreSQL"),
        ("pooler = true", "pooler is for an index on PostgreSQL"),
    ],
)
def test_what_is_for_postgresql_is_refused_elsewhere_or_when_it_is_wrong(write, line, says):
    url = "" if line.startswith(("url", "pooler")) else POSTGRESQL
    assert re.search(says, mistakes(file=write(f"[index]\n{url}{line}\n")))


def test_an_index_may_have_a_namespace_behind_a_pooler(write):
    text = f'[index]\n{POSTGRESQL}namespace = "films_1"\npooler = true\n'
    place = load(file=write(text), environment={}).settings.index_place
    assert place == Place("postgresql://db/x", "films_1", True, "")
