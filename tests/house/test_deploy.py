"""What is in deploy/, looked at by the tools that it is for."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from deployed import DEPLOY
from object_store import GRPC, ObjectServer, object_server

UNIT = DEPLOY / "filmroom.service"
BESIDE = Path(sys.executable).parent
SECRETS = ("admin_password", "index_url", "postgres_password", "s3.json", "s3_secret_key")


def tool(name: str) -> str:
    """A program from the package index, beside our Python; missing is a failure in CI."""
    found = shutil.which(name, path=os.pathsep.join([str(BESIDE), os.environ["PATH"]]))
    if found is None:
        message = f"{name} is not installed: it is in the extra `dev`"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    """A copy of deploy/, with secrets."""
    folder = tmp_path_factory.mktemp("checkout") / "deploy"
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("secrets"))
    made = run(folder / "make_secrets.sh")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def composed(deploy):
    """compose.yaml as Docker Compose understands it."""
    asked = run(tool("docker-compose"), "-f", deploy / "compose.yaml", "config", "--format=json")
    assert asked.returncode == 0, asked.stderr
    assert not asked.stderr
    return orjson.loads(asked.stdout)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, peer_program):
    ours = BESIDE / "filmroom"
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/filmroom/bin/filmroom", str(ours)))
    done = run(peer_program("systemd-analyze"), "verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_exposes_as_little_as_it_says(peer_program):
    done = run(peer_program("systemd-analyze"), "security", "--offline=true", "--no-pager", UNIT)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    (said,) = re.findall(r"says ([\d.]+) ", UNIT.read_text())
    assert float(level[1]) < float(said) + 0.4, "versions of systemd differ by a little"


def test_the_unit_leaves_time_for_what_is_being_stored():
    from filmroom.node import GRACE_SECONDS

    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert int(seconds) >= GRACE_SECONDS + 20


@pytest.mark.parametrize("page", ["service", "several-nodes"])
def test_files_that_the_manual_names_are_there(page):
    text = (DEPLOY.parent / "docs" / "guide" / f"{page}.md").read_text()
    named = re.findall(r"deploy/[\w.]+\.(?:service|yaml|sh)", text)
    assert named
    assert not [name for name in named if not (DEPLOY.parent / name).exists()]


def test_hadolint_finds_nothing_wrong_with_the_dockerfile():
    done = run(tool("hadolint"), "--failure-threshold", "style", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_image_does_not_run_as_root_and_says_how_it_is():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*$", text, re.M)
    assert "/readyz" in text.partition("HEALTHCHECK")[2]


def test_haproxy_finds_nothing_wrong_with_its_configuration(peer_program):
    done = run(peer_program("haproxy"), "-c", "-f", DEPLOY / "haproxy.cfg")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_secret_is_a_file_that_is_made_and_none_is_in_the_configuration(deploy, composed):
    files = {name: Path(each["file"]) for name, each in composed["secrets"].items()}
    assert sorted(files) == sorted(SECRETS)
    assert files["s3.json"].stat().st_mode & stat.S_IROTH, "containers' users are others"
    assert stat.S_IMODE((deploy / "secrets").stat().st_mode) == 0o700
    password = files["postgres_password"].read_text().strip()
    said = orjson.dumps(composed["services"]).decode()
    assert password not in said
    assert f"filmroom:{password}@database/" in files["index_url"].read_text()
    (identity,) = orjson.loads(files["s3.json"].read_bytes())["identities"]
    (keys,) = identity["credentials"]
    environment = composed["services"]["node"]["environment"]
    assert keys["accessKey"] == environment["FILMROOM__BLOBS__ACCESS_KEY"]
    assert keys["secretKey"] == files["s3_secret_key"].read_text().strip()


def test_secrets_are_made_once(deploy):
    before = {name: (deploy / "secrets" / name).read_text() for name in SECRETS}
    assert len(set(before.values())) == len(SECRETS)
    assert run(deploy / "make_secrets.sh").returncode == 0
    assert {name: (deploy / "secrets" / name).read_text() for name in SECRETS} == before


def test_the_settings_of_a_node_in_compose_are_settings(deploy, composed):
    environment = {
        name: value.replace("/run/secrets", str(deploy / "secrets"))
        for name, value in composed["services"]["node"]["environment"].items()
    }
    command = [sys.executable, "-m", "filmroom.cli.main", "config"]
    done = run(*command, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    (subnet,) = composed["networks"]["default"]["ipam"]["config"]
    assert subnet["subnet"] in done.stdout, "the balancer would not be believed"


def test_the_bucket_is_made_as_compose_makes_it_and_may_be_made_again():
    with object_server() as server:
        servers = {"MASTER": _address(server, "master"), "FILER": _address(server, "filer")}
        path = os.pathsep.join([str(BESIDE), os.environ["PATH"]])
        environment = os.environ | servers | {"PATH": path}
        filer = f"http://127.0.0.1:{server.ports['filer']}"
        bucket = f"{filer}/buckets/filmroom/?pretty=y"
        httpx.delete(bucket, params={"recursive": "true"})
        assert httpx.get(bucket).status_code == 404
        for _ in range(2):
            done = run("sh", DEPLOY / "bucket.sh", env=environment, cwd=server.folder)
            assert done.returncode == 0, done.stdout + done.stderr
            assert httpx.get(bucket).status_code == 200
        (rule,) = httpx.get(f"{filer}/etc/seaweedfs/filer.conf").json()["locations"]
        assert (rule["locationPrefix"], rule["fsync"]) == ("/buckets/filmroom/", True)


def _address(server: ObjectServer, name: str) -> str:
    return f"127.0.0.1:{server.ports[name]}.{server.ports[name] + GRPC}"
