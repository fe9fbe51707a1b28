"""Nodes behind HAProxy, configured as in deploy/: one address for modalities and for browsers."""

from __future__ import annotations

import subprocess

import httpx
import pytest

from deployed import Balancer
from instances import a_data_set, part10
from nodes import AE_TITLE, PASSWORD
from object_store import object_server
from postgres_cluster import cluster
from several import Several


@pytest.fixture
def several(tmp_path):
    with cluster() as database, object_server() as server:
        made = Several(tmp_path, database.database(), server.place(), one_port=False)
        yield made.start()
        made.kill()


@pytest.fixture
def balancer(several, peer_program, tmp_path):
    made = Balancer(peer_program("haproxy"), tmp_path, several.nodes).start()
    yield made
    made.stop()


def run(peer_program, balancer, name, *arguments):
    command = [peer_program(name), "-v", "-aec", AE_TITLE, "127.0.0.1", str(balancer.dimse_port)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def files(folder, numbers):
    for n in numbers:
        path = folder / f"{n}.dcm"
        path.write_bytes(part10(a_data_set(seed=n)))
        yield str(path)


def test_a_node_dies_and_the_traffic_goes_on(several, balancer, peer_program, tmp_path):
    web = httpx.Client(
        base_url=f"http://127.0.0.1:{balancer.http_port}", auth=("admin", PASSWORD), timeout=30
    )

    def held():
        answer = web.get("/dicom-web/studies")
        assert answer.status_code == 200, answer.text
        return len(answer.json())

    def store_each_by_itself(numbers):
        said = [run(peer_program, balancer, "storescu", file) for file in files(tmp_path, numbers)]
        return sum("Received Store Response (Success)" in each for each in said)

    for _ in range(4):
        assert "Received Echo Response (Success)" in run(peer_program, balancer, "echoscu")
    assert store_each_by_itself(range(4)) == 4
    assert [held() for _ in range(4)] == [4] * 4
    for backend in ("dicom", "web"):
        assert {f"{backend}/node{n}" for n in (0, 1)} <= set(balancer.log().split())

    several.nodes[0].kill()
    assert store_each_by_itself(range(4, 10)) == 6
    assert [held() for _ in range(6)] == [10] * 6

    several.nodes[0].start()
    for backend in ("dicom", "web"):
        balancer.wait_for(f"Server {backend}/node0 is UP")
    several.nodes[1].kill()
    assert store_each_by_itself(range(10, 12)) == 2
    assert held() == 12
    web.close()


def test_the_log_of_the_balancer_names_no_patient(balancer):
    url = f"http://127.0.0.1:{balancer.http_port}/dicom-web/studies?PatientName=Hopper*"
    assert httpx.get(url, auth=("admin", PASSWORD), timeout=30).status_code == 200
    balancer.stop()
    assert "/dicom-web/studies" in balancer.log()
    assert "Hopper" not in balancer.log()
