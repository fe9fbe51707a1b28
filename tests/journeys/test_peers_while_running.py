"""Peers are added and removed while nodes run, and every node knows them."""

from __future__ import annotations

import subprocess
import time

import pytest

from instances import a_data_set
from nodes import AE_TITLE, free_port
from peers import filmroom, storescp
from senders import stow


def moves(peer_program, port, destination, study):
    command = [
        peer_program("movescu"), "-S", "-v", "-aet", "ASKER", "-aec", AE_TITLE,
        "-aem", destination, "127.0.0.1", str(port), "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={study}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def wait_for(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(params=["command", "API"])
def way(request):
    return request.param


def add(way, node, title, port):
    if way == "API":
        with node.client() as client:
            body = {"ae_title": title, "host": "127.0.0.1", "port": port}
            answer = client.post("/api/peers", json=body)
            assert answer.status_code == 201, answer.text
    else:
        done = filmroom("peer", "add", f"{title}=127.0.0.1:{port}", "--data", node.data)
        assert done.returncode == 0, done.stderr


def remove(way, node, title):
    if way == "API":
        with node.client() as client:
            assert client.delete(f"/api/peers/{title}").status_code == 204
            assert client.delete(f"/api/peers/{title}").status_code == 404
    else:
        assert filmroom("peer", "remove", title, "--data", node.data).returncode == 0
        assert filmroom("peer", "remove", title, "--data", node.data).returncode == 1


def titles(node):
    with node.client() as client:
        return [peer["ae_title"] for peer in client.get("/api/peers").json()]


def test_a_peer_that_is_added_may_ask_and_be_sent_to_until_it_is_removed(
    start_node, peer_program, tmp_path, way
):
    node, receiver = start_node(), free_port()
    study = a_data_set()
    with node.client() as client:
        assert stow(client, study).status_code == 200
    uid = study.StudyInstanceUID
    assert "0xa801" not in moves(peer_program, node.dimse_port, "NEW", uid).lower()  # no right
    add(way, node, "ASKER", free_port())
    add(way, node, "NEW", receiver)
    wait_for(lambda: {"ASKER", "NEW"} <= set(titles(node)))
    with storescp(peer_program("storescp"), tmp_path / "moved", receiver):
        assert "Success" in moves(peer_program, node.dimse_port, "NEW", uid)
        assert len(list((tmp_path / "moved").iterdir())) == 1
    node.stop()
    node.start()
    assert {"ASKER", "NEW"} <= set(titles(node))
    listed = filmroom("peer", "list", "--data", node.data).stdout
    assert f"NEW\t127.0.0.1:{receiver}\techo+query+retrieve+store" in listed
    remove(way, node, "NEW")
    wait_for(lambda: "NEW" not in titles(node))
    assert "MoveDestinationUnknown" in moves(peer_program, node.dimse_port, "NEW", uid)


def test_a_peer_that_makes_no_sense_is_refused(start_node):
    node = start_node("--peer", "FIXED=127.0.0.1:104")
    for text in ("X", "X=h", "X=h:99999", "X=h:104:fly", "A\\B=h:1"):
        done = filmroom("peer", "add", text, "--data", node.data)
        assert done.returncode == 1, text
        assert "Traceback" not in done.stderr
    with node.client() as client:
        body = {"ae_title": "FIXED", "host": "h", "port": 1}
        assert client.post("/api/peers", json=body).status_code == 409
        assert client.delete("/api/peers/FIXED").status_code == 409
        assert client.post("/api/peers", json={"ae_title": "X", "host": "h"}).status_code == 400
        assert client.post("/api/peers", json={**body, "may": "all"}).status_code == 400


def test_every_node_knows_what_was_added_on_one(several):
    first, second = several.nodes
    add("API", first, "NEW", 104)
    wait_for(lambda: "NEW" in titles(second), seconds=2)
    remove("API", second, "NEW")
    wait_for(lambda: "NEW" not in titles(first), seconds=2)
