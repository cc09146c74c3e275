"""Ranks that do not share a machine, as far as they know: they meet on a server, and talk to rank 0 over TCP."""

import contextlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import textwrap

import msgspec
import pytest
from rank_script import PLAIN

import hpo_plugins as hpo
from hpo_plugins.execution import rank_link
from hpo_plugins.execution.rank_link import Link, Place, listen
from hpo_plugins.execution.ranks import RankZero
from hpo_plugins.execution.remote_ranks import Desk, RemoteStudy


def answer(method, arguments):
    if method == "fail":
        raise hpo.StudyNotFound("there is none")
    return msgspec.msgpack.encode([method, arguments])


@pytest.fixture(scope="module")
def place():
    port, key = listen(answer, "127.0.0.1")
    return Place(["127.0.0.1"], port, key)


def test_calls_are_answered_and_errors_keep_their_class(place):
    link = Link(place)
    assert msgspec.msgpack.decode(link.call("trial", "s", 1)) == ["trial", ["s", 1]]
    with pytest.raises(hpo.StudyNotFound, match="there is none"):
        link.call("fail")
    assert msgspec.msgpack.decode(pickle.loads(pickle.dumps(link)).call("leave")) == ["leave", []]


def test_first_host_that_answers_is_used(place):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert Link(Place(["127.0.0.1", "127.0.0.1"], place.port, place.key)).call("x")
    with pytest.raises(OSError, match="rank 0 does not answer at 127.0.0.1"):
        Link(Place(["127.0.0.1"], port, place.key)).call("x")


def test_other_key_is_refused_on_both_sides(place):
    with pytest.raises(OSError, match="does not answer"):
        Link(Place(place.hosts, place.port, bytes(32))).call("x")
    port, _ = listen(lambda *_: b"", "127.0.0.1")  # another job's rank 0
    with pytest.raises(OSError, match="does not answer"):
        Link(Place(["127.0.0.1"], port, place.key)).call("x")


@pytest.mark.parametrize("said", [b"", b"x" * 64, pickle.dumps([1]) * 10, b"GET / HTTP/1.1\r\n\r\n" * 10])
def test_strangers_get_a_nonce_and_nothing_else(said, place):
    with socket.create_connection(("127.0.0.1", place.port)) as stranger:
        got = b""
        with contextlib.suppress(OSError):  # rank 0 has closed it before it has read all
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            while part := stranger.recv(1024):
                got += part
    assert len(got) <= 32


def test_silent_strangers_keep_no_rank_out(place, monkeypatch):
    monkeypatch.setattr(rank_link, "HANDSHAKE_SECONDS", 0.5)
    silent = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(rank_link.MAX_STRANGERS)]
    for stranger in silent:
        while stranger.recv(1024):  # until it is closed
            pass
        stranger.close()
    assert Link(place).call("x")


def test_frame_that_is_too_large_ends_the_connection(place):
    link = Link(place)
    link.call("x")
    link._of.held.connection.sendall(struct.pack("!I", rank_link.MAX_FRAME + 1))
    with pytest.raises((OSError, EOFError)):
        link.call("x")
    assert link.call("x")  # by a new one


def test_replayed_handshake_is_refused(place, monkeypatch):
    sent = []
    real = socket.socket.sendall
    monkeypatch.setattr(socket.socket, "sendall", lambda self, data: (sent.append(bytes(data)), real(self, data))[1])
    Link(place).call("x")
    monkeypatch.undo()
    (proof,) = [data for data in sent if len(data) == 64]
    with socket.create_connection(("127.0.0.1", place.port)) as stranger:
        stranger.recv(32)
        stranger.sendall(proof)
        assert stranger.recv(1024) == b""


def test_study_of_a_deleted_tuner_counts_as_ended():
    """Rank 0 may be through with its script first: the others then keep what they have read."""
    port, key = listen(Desk(RankZero()), "127.0.0.1")
    with pytest.raises(hpo.StorageError, match="no tuner for 's' any more"):
        RemoteStudy({}, Link(Place(["127.0.0.1"], port, key)), "s").changes(0)


DISTANT = "import os; os.environ.pop('MASTER_ADDR', None)\n" + textwrap.dedent(PLAIN)


@pytest.mark.process
@pytest.mark.parametrize("folds", [False, True])
def test_ranks_meet_on_a_server_without_torch(folds, tmp_path):
    """Each has a machine of its own, as the launcher says; the storage is all that they share."""
    token = "a-token-for-the-tests"
    code = "import sys; from hpo_plugins.cli.main import main; sys.argv[1:] = ['serve', 'a.db', '--port', '0']; main()"
    environment = os.environ | {"HPO_PLUGINS_TOKEN": token, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
    server = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        url = next(line for line in server.stdout if "storage=" in line).partition('storage="')[2].partition('"')[0]
        script = DISTANT.replace("STORAGE", repr(url)).replace("FOLDS", repr(folds))
        script = script.replace("max_resource=9)", f"max_resource=9, pause={not folds})")
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", script], cwd=tmp_path, env=environment | {"RANK": str(rank), "LOCAL_RANK": "0"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(2)
        ]  # fmt: skip
        said = [rank.communicate() for rank in ranks]
    finally:
        server.kill()
        server.communicate()
    assert [rank.returncode for rank in ranks] == [0, 0], said
    trained, _, n_trials = json.loads(said[0][0])
    assert said[0][0] == said[1][0]
    assert n_trials == 6
    assert any(epoch == 9 for *_, epoch in trained)
