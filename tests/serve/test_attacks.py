"""What strangers, and clients that have gone wrong, send to the server over real connections."""

import contextlib
import http.client
import json
import os
import socket
import stat
import threading
import time
from pathlib import Path

import msgspec
import pytest
import trustme

import hpo_plugins as hpo
from hpo_plugins.serve import server as server_module
from hpo_plugins.serve import wire
from hpo_plugins.serve.app import create_app
from hpo_plugins.serve.server import bound, new_server
from hpo_plugins.serve.tokens import find_token, make_token
from hpo_plugins.storage import open_storage
from hpo_plugins.testing.storages import offer, report

from .conftest import TOKEN, free_port, kill, serving, start_server

HEADERS = {"Authorization": f"Bearer {TOKEN}", wire.PROTOCOL_HEADER: str(wire.PROTOCOL)}


def place(url):
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    return host, int(port)


def post(url, path, message=b"", headers=HEADERS, method="POST"):
    """Return the status and the body of an answer."""
    body = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
    with contextlib.closing(http.client.HTTPConnection(*place(url), timeout=60)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def is_well(url):
    """Whether the server still answers, and its study is as it was."""
    study = open_storage(url).open("s", None)
    return study.changes(0).acquisitions == 1


@pytest.fixture
def study(url):
    made = open_storage(url).open("s", {})
    made.acquire(offer(0), 0)
    return made


def identity(study):
    return study._opened.study


MALFORMED = [
    b"", b"\xc1", b"\xff" * 100, b"{}", b"null", b"\x91" * 5_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", os.urandom(300), [], ["x"] * 6, {"a": 1}, [1, 2, 3, 4, 5], "text", 2**63, None,
]  # fmt: skip


@pytest.mark.parametrize("path", ["write", "changes", "wait", "storage/open", "storage/rename", "storage/counts"])
def test_malformed_messages_are_refused_in_one_sentence(path, url, study):
    for message in MALFORMED:
        status, answer = post(url, f"/api/{path}", message)
        assert status == 400, message
        assert len(answer) < 600
        assert b"Traceback" not in answer
    assert is_well(url)


def calls(*given):
    return [(method, msgspec.Raw(msgspec.msgpack.encode(arguments))) for method, arguments in given]


@pytest.mark.parametrize(
    "given",
    [
        calls(("exclusively", ["os.system"])),
        calls(("__class__", [])),
        calls(("after_fork", [])),
        calls(("changes", [0])),
        calls(),
        calls(("renew", [[[0, 1]], 1.0])) * (wire.MAX_CALLS + 1),
        calls(("report", [[0, 1, 2**60, 0.5, "{}", 1.5, 0, ""]])),
        calls(("report", [[0, 1, 0, 0.5, "{}", 1.5, 0, ""]])),
        calls(("report", [[0, 1, 1, 0.5, "{not json", 1.5, 0, ""]])),
        calls(("report", [[0, 1, 1, 0.5, '{"a": "x"}', 1.5, 0, ""]])),
        calls(("report", [[0, 1, 1, "0.5", "{}", 1.5, 0, ""]])),
        calls(("update", [0, 1, {"study": 2}])),
        calls(("update", [0, 1, {"state": "won"}])),
        calls(("update", [0, 1, {"ended_at": 3.5}])),
        calls(("acquire", [{"number": "0"}, 0])),
        calls(("enqueue", [{"x": [1]}])),
    ],
)
def test_wrong_calls_change_nothing(given, url, study):
    message = [identity(study), "s", "client", 1, given]
    status, answer = post(url, "/api/write", message)
    assert status == 400
    assert b"Traceback" not in answer
    assert is_well(url)
    assert list(study.changes(0).reports) == []


def test_numbers_beyond_the_database_are_an_error_of_that_request_only(url, study, caplog):
    row = [0, 1, 1, 0.5, "{}", 1.5, 0, ""]
    too_large = calls(("report", [row]), ("drop_checkpoint", [2**64 - 1, "x"]))
    status, answer = post(url, "/api/write", [identity(study), "s", "client", 1, too_large])
    assert status in (400, 409, 500)
    assert b"Traceback" not in answer
    caplog.clear()  # the server has logged it
    assert list(study.changes(0).reports) == []  # the whole request is one transaction
    assert is_well(url)


def test_request_that_is_replayed_changes_nothing(url, study):
    def request(number, epoch):
        row = [0, 1, epoch, 0.5, "{}", 1.5, 0, ""]
        return [identity(study), "s", "recorded", number, calls(("report", [row]))]

    first = post(url, "/api/write", request(1, 1))
    assert post(url, "/api/write", request(1, 1)) == first
    assert post(url, "/api/write", request(2, 2))[0] == 200
    status, answer = post(url, "/api/write", request(1, 1))
    assert status == 400
    assert b"was answered before" in answer
    assert [row.epoch for row in study.changes(0).reports] == [1, 2]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api", "/api/", "/api/unknown", "/api/storage/exclusively", "/api/storage/__init__", "/api/../etc/passwd",
        "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/storage/..", "//etc/passwd", "/api/write/",
        "/api/%00", "/api/write%0d%0aX:y",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(path, url, study):
    for method in ("GET", "POST", "PUT", "DELETE", "TRACE"):
        status, answer = post(url, path, method=method)
        assert status in (307, 400, 404, 405)
        assert b"root:" not in answer
    assert is_well(url)


@pytest.mark.parametrize("path", ["write", "changes", "wait", "storage/open", "storage/names", "storage/delete"])
@pytest.mark.parametrize("token", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", TOKEN])
def test_every_route_needs_the_token(path, token, url, study):
    headers = {wire.PROTOCOL_HEADER: "1"} | ({} if token is None else {"Authorization": token})
    status, answer = post(url, f"/api/{path}", ["s"], headers)
    assert status == 401
    assert answer.decode().startswith("This server needs its token")
    assert is_well(url)


def test_other_versions_are_named_on_both_sides(url, study, monkeypatch):
    status, answer = post(
        url, "/api/storage/names", [], {**HEADERS, wire.PROTOCOL_HEADER: "7", wire.VERSION_HEADER: "9.9.9"}
    )
    assert status == 409
    for words in (b"9.9.9 (protocol 7)", hpo.__version__.encode(), b"(protocol 1)", b"pip install -U"):
        assert words in answer
    monkeypatch.setattr("hpo_plugins.serve.connection.PROTOCOL", 2)
    with pytest.raises(hpo.StorageError, match=r"\(protocol 1\), and this is .* \(protocol 2\). Upgrade the older"):
        open_storage(url)


RAW = [
    b"\r\n" * 50,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET " + b"/" * 100_000,
    b"POST /api/write HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/write HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /api/write HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET / HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 100_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 1_000,
    os.urandom(2_000),
]


@pytest.mark.parametrize("index", range(len(RAW)))
def test_what_is_no_request_ends_the_connection(index, url, study):
    connection = socket.create_connection(place(url), timeout=60)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):  # closed while this is sent
        connection.sendall(RAW[index])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    assert is_well(url)


def test_clients_that_send_a_head_slowly_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
    with serving(tmp_path / "a.db") as url:
        study = open_storage(url).open("s", {})
        study.acquire(offer(0), 0)
        for head in (b"", b"G", b"POST /api/write HTTP/1.1\r\nHost: a\r\n"):
            with contextlib.closing(socket.create_connection(place(url), timeout=60)) as connection:
                connection.sendall(head)
                while connection.recv(1 << 16):  # "" when the server has closed it
                    pass
            with contextlib.closing(http.client.HTTPConnection(*place(url), timeout=60)) as second:
                second.request("POST", "/api/storage/names", msgspec.msgpack.encode([]), HEADERS)
                assert second.getresponse().read()
                connection = second.sock
                connection.sendall(head or b"\r\n")
                while connection.recv(1 << 16):  # "" when the server has closed it
                    pass
        assert study.report(report(0, 1))


def test_two_hundred_connections_are_served(url, study):
    idle = [socket.create_connection(place(url), timeout=60) for _ in range(150)]
    found, barrier = [], threading.Barrier(50)

    def ask(_):
        barrier.wait()
        found.append(post(url, "/api/changes", [identity(study), "s", 0]))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in found] == [200] * 50
    for connection in idle:
        connection.close()


def test_too_many_connections_are_asked_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 5)
    with serving(tmp_path / "a.db") as url:
        idle = [socket.create_connection(place(url), timeout=60) for _ in range(8)]
        until = time.monotonic() + 60
        while (status := post(url, "/api/storage/names", [])[0]) != 503 and time.monotonic() < until:
            pass  # the server has not yet accepted them all
        assert status == 503
        for connection in idle:
            connection.close()
        assert open_storage(url).names() == []  # the client has waited


# The address.


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@host:1", r"The token is not part of it"),
        ("http://host:1/?token=secret", r"The token is not part of it"),
        ("http://", r"must be a URL like"),
        ("http://host:port", r"must be a URL like"),
        ("http://no-such-host.invalid:7777", r"cannot be reached"),
    ],
)
def test_wrong_addresses_are_named_at_once(url, words):
    with pytest.raises(hpo.StorageError, match=words) as raised:
        open_storage(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("path", ["/foo", "/api", "/churn-v3"])
def test_path_that_is_no_server_is_named(path, url):
    with pytest.raises(hpo.StorageError, match=r"is no server of hpo-plugins"):
        open_storage(url + path)


def test_other_programs_are_told_apart():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>Welcome to nginx"})

    listening, listener = threading.Event(), bound("127.0.0.1", 0)
    server = new_server(app, listening=listening.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert listening.wait(30)
    try:
        with pytest.raises(hpo.StorageError, match="is no server of hpo-plugins.*it answered 200 '<html>Welcome"):
            open_storage(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.parametrize("strips", [True, False])
def test_server_behind_a_proxy_with_a_prefix(strips, tmp_path):
    """A proxy in front of the server removes the prefix from paths, or leaves it."""

    class Proxy:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if strips and scope["type"] == "http":
                assert scope["path"].startswith("/tuning/")
                scope = {**scope, "path": scope["path"].removeprefix("/tuning")}
            await self.app(scope, receive, send)

    app = Proxy(create_app(open_storage(tmp_path / "a.db"), TOKEN, root_path="/tuning"))
    listening, listener = threading.Event(), bound("127.0.0.1", 0)
    server = new_server(app, listening=listening.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert listening.wait(30)
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/tuning"
        assert open_storage(url).open("s", {}).acquire(offer(0), 0)
        assert open_storage(f"{url}/").names() == ["s"]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority that this machine does not know, and a certificate of it."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


def test_certificates_are_checked(certificates, tmp_path, monkeypatch):
    port = free_port()
    server = start_server(tmp_path / "a.db", "--port", port, "--certfile", certificates / "server.pem")
    try:
        with pytest.raises(hpo.StorageError, match=r"certificate that is not trusted here.*SSL_CERT_FILE"):
            open_storage(f"https://127.0.0.1:{port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        assert open_storage(f"https://127.0.0.1:{port}").open("s", {}).acquire(offer(0), 0)
    finally:
        kill(server)


def test_wrong_certificate_is_named(tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(hpo.InvalidArgument, match=r"certfile and keyfile must be a certificate .*wrong\.pem"):
        new_server(create_app(open_storage(None), TOKEN), certfile=wrong)


# The token.


def test_token_file_is_made_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_PLUGINS_TOKEN")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert find_token() is None
    token = make_token()
    path = tmp_path / "hpo-plugins" / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert find_token() == token
    path.chmod(0o644)
    with pytest.raises(hpo.StorageError, match=f"chmod 600 {path}"):
        find_token()
    with pytest.raises(hpo.StorageError, match="cannot be written"):
        make_token()  # another server has just made one


@pytest.mark.parametrize("token", ["", "  ", "a b", "t\u00f6ken", "a\x00b"])
def test_wrong_tokens_are_named(token, tmp_path):
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(0o600)
    with pytest.raises(hpo.StorageError, match="must be ASCII characters without spaces"):
        find_token(file)


def test_client_without_a_token_says_where_it_goes(tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_PLUGINS_TOKEN")
    monkeypatch.setenv("HPO_PLUGINS_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(hpo.StorageError, match="set HPO_PLUGINS_TOKEN, or copy the server's file"):
        open_storage("http://127.0.0.1:1")


def test_wrong_token_is_named(url, monkeypatch):
    monkeypatch.setenv("HPO_PLUGINS_TOKEN", "a wrong one".replace(" ", "-") * 2)
    with pytest.raises(hpo.StorageError, match="refused the token. Set HPO_PLUGINS_TOKEN"):
        open_storage(url)


def test_token_is_in_no_pickle_and_no_representation(url, study):
    import pickle

    for thing in (study, open_storage(url)):
        assert TOKEN.encode() not in pickle.dumps(thing)
        assert TOKEN not in repr(thing) + str(thing)


def test_values_that_cannot_be_sent_are_refused_when_the_tuner_is_made(url):
    with pytest.raises(hpo.StorageError, match="whole numbers of up to 64 bits"):
        hpo.Tuner(
            {"x": hpo.Categorical([10**30, 1])}, hpo.Minimize("loss"), strategy=hpo.Random(), storage=url, name="s"
        )


def test_messages_contain_no_code(study):
    assert json.loads(json.dumps(study.definition)) == study.definition
    assert "pickle" not in Path(wire.__file__).read_text()
