"""The server of the page on a real socket: its answers to any request and any client, and the command."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main

pytest.importorskip("uvicorn")
pytest.importorskip("plotly")
import httpx

from hpo_plugins.page import answers, page_server
from hpo_plugins.page.server import PageServer
from hpo_plugins.serve import server


def new_tuner(folder):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=folder / "a.db", max_trials=2)


@contextlib.contextmanager
def serving(folder, **arguments):
    new_tuner(folder)
    served = PageServer(folder / "a.db", **arguments)
    served.start()
    try:
        yield served
    finally:
        served.end()


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as served:
        yield served


def raw(served, request):
    """Send bytes; return all that the server answers."""
    with socket.create_connection(served.address, timeout=60) as client:
        with contextlib.suppress(ConnectionError):  # it may answer before it has read all
            client.sendall(request)
        return answer_of(client)


def answer_of(client):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def headers_of(served):
    return {"Authorization": f"Bearer {served.token}"}


def get(served, path="/", **arguments):
    url = served.url.partition("/?")[0] + path
    return httpx.get(url, headers=headers_of(served), timeout=60, **arguments)


# Any request.


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"GET " + b"/a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET /?token=" + b"9" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET /?" + b"token=1&" * 1000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET /?token=%ff\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 401)),
        (b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n", (421,)),
        (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", (421,)),
        (b"GET / HTTP/1.1\r\n\r\n", (400,)),
        (b"GET / HTTP/1." + b"9" * 10_000 + b"\r\n\r\n", (400,)),
        (b"GET / HTTP/x\r\n\r\n", (400,)),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", (400, 401)),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 401)),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", (400,)),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n", (400,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 10_000 + b"\r\n\r\n", (400, 401)),
        (b"one two three four\r\n\r\n", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\xfc\r\n\r\n", (400,)),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
    ],
)
def test_any_request_has_a_status_and_a_sentence(request_, statuses, served, capfd):
    answer = raw(served, request_.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1))
    if answer:  # else the system has reset the connection, since the server had not read all
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) in statuses
        assert b"content-type: text/plain" in head
        assert (body.strip().count(b"\n"), len(body) < 250) == (0, True)
        assert b"<" not in body
    assert "Traceback" not in capfd.readouterr().err


def test_head_is_the_page_without_its_body(served):
    request = f"HEAD / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.token}\r\nConnection: close\r\n\r\n"
    head, _, body = raw(served, request.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


def test_guessing_is_slowed_down(served):
    statuses = [httpx.get(served.url + "x", timeout=60).status_code for _ in range(25)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert get(served).status_code == 200  # with the token, all the same


def test_tab_that_is_closed_says_nothing(served, capfd, caplog):
    for _ in range(3):
        client = socket.create_connection(served.address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, rather than an end
        client.sendall(f"GET /?token={served.token} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        client.close()
    assert get(served).text.startswith("<!doctype html>")
    assert capfd.readouterr().err == ""
    assert caplog.records == []


# What changes.


def events(answer):
    """The events of a stream, as pairs of kind and data."""
    kind = None
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, line.removeprefix("data: ")


def test_stream_says_what_changes_until_the_study_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "POLL_SECONDS", 0.01)
    with serving(tmp_path) as served:
        tuner = hpo.Tuner.load(tmp_path / "a.db")
        url = served.url.partition("?")[0] + "page/events?name=default"
        with httpx.stream("GET", url, headers=headers_of(served), timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            found = events(answer)
            first = next(found)
            assert first[0] == "state"
            shown = get(served, "/page/study?name=default").json()["state"]
            assert first == ("state", shown)
            tuner.ask().report(1, {"loss": 1.0})
            assert next(found)[1] != shown
            hpo.studies(tmp_path / "a.db")["default"].delete(force=True)
            assert ("gone", "The study was deleted or renamed.") in list(found)


def test_stream_begins_with_what_the_page_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "POLL_SECONDS", 0.01)
    with serving(tmp_path) as served:
        state = get(served, "/page/study?name=default").json()["state"]
        url = served.url.partition("?")[0] + f"page/events?name=default&state={state}"
        with httpx.stream("GET", url, headers=headers_of(served), timeout=60) as answer:
            hpo.Tuner.load(tmp_path / "a.db").annotate(note="x")
            assert next(events(answer))[1] != state


def test_server_ends_with_its_streams(tmp_path):
    with serving(tmp_path) as served:
        url = served.url.partition("?")[0] + "page/events?name=default"
        with httpx.stream("GET", url, headers=headers_of(served), timeout=60) as answer:
            found = events(answer)
            next(found)
            ending = threading.Thread(target=served.end)
            ending.start()
            with contextlib.suppress(httpx.RemoteProtocolError):
                list(found)
            ending.join()
            address = served.address
    with pytest.raises(ConnectionRefusedError, match="refused"):
        socket.create_connection(address)


# Load.


def test_silent_client_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    with serving(tmp_path) as served:
        assert raw(served, b"") == b""  # returns only once the server has closed the connection
        assert raw(served, b"GET / HTTP/1.1\r\nHost: a") == b""


def test_slow_second_request_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    with serving(tmp_path) as served, socket.create_connection(served.address, timeout=60) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHo")
        assert answer_of(client).count(b"HTTP/1.1 401") == 1


def test_slow_body_is_ended(tmp_path, monkeypatch):
    from hpo_plugins.serve import guard

    monkeypatch.setattr(
        guard.Guard.__init__, "__kwdefaults__", guard.Guard.__init__.__kwdefaults__ | {"body_seconds": 0.05}
    )
    with serving(tmp_path) as served:
        head = f"POST /page/act?name=default HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.token}\r\n"
        answer = raw(served, head.encode() + b"Content-Length: 100\r\n\r\n{")
        assert answer.split()[1] in (b"403", b"408")


def test_connections_are_limited_and_free_again(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    with serving(tmp_path) as served, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(served.address)) for _ in range(2)]
        assert raw(served, b"").startswith(b"HTTP/1.1 503 ")
        for client in silent:
            client.shutdown(socket.SHUT_WR)
            assert answer_of(client) == b""
        assert get(served).text.startswith("<!doctype html>")


# Addresses.


def refusal(*options, storage):
    ended = CliRunner().invoke(main, ["dashboard", str(storage), *options])
    assert "Traceback" not in ended.output
    return ended.exit_code, ended.output


def test_address_in_use_is_one_sentence(tmp_path):
    new_tuner(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, output = refusal("--port", str(port), storage=tmp_path / "a.db")
    assert code == 1
    assert f"but got host='127.0.0.1', port={port}: {os.strerror(errno.EADDRINUSE)}." in output


def test_privileged_port_is_one_sentence(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    new_tuner(tmp_path)
    monkeypatch.setattr("hpo_plugins.serve.server._bound", refused)  # root, as in a container, may bind all
    with pytest.raises(hpo.InvalidArgument, match="port=80: Permission denied.* ports below 1024 may need rights"):
        PageServer(tmp_path / "a.db", port=80)


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 300, "a..b", "\0"])
def test_wrong_host_is_one_sentence(host, tmp_path):
    new_tuner(tmp_path)
    code, output = refusal("--host", host, storage=tmp_path / "a.db")
    assert code == 1
    assert "host and port must be an address of this machine that is free, but got host=" in output


@pytest.mark.parametrize("port", [-1, 65536, 10**30, 1.5, "80"])
def test_wrong_port_is_one_sentence(port, tmp_path):
    new_tuner(tmp_path)
    with pytest.raises(hpo.InvalidArgument, match="port must be a whole number of at"):
        PageServer(tmp_path / "a.db", port=port)


def test_arguments_of_the_command_are_checked(tmp_path):
    new_tuner(tmp_path)
    code, output = refusal("--port", "65536", storage=tmp_path / "a.db")
    assert (code, "65536 is not in the range 0<=x<=65535" in output) == (2, True)
    code, output = refusal("--name", "nobody", storage=tmp_path / "a.db")
    assert (code, "No study 'nobody'" in output) == (1, True)
    code, output = refusal(storage=tmp_path / "none.db")
    assert (code, "No storage at" in output) == (1, True)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_address_has_brackets(tmp_path):
    new_tuner(tmp_path)
    try:
        served = PageServer(tmp_path / "a.db", host="::1")
    except hpo.InvalidArgument:
        pytest.skip("this machine has no IPv6 address")
    assert served.url.startswith("http://[::1]:")
    served.end()


def test_missing_package_is_named(monkeypatch, tmp_path):
    new_tuner(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "hpo_plugins.page.server")
    monkeypatch.delitem(sys.modules, "hpo_plugins.serve.server")
    with pytest.raises(hpo.MissingDependency, match=r"uvicorn is not installed.*'hpo-plugins\[dashboard\]'"):
        page_server(tmp_path / "a.db")


def test_command_prints_its_url_and_ends_with_ctrl_c(tmp_path):
    new_tuner(tmp_path)
    command = [sys.executable, "-m", "hpo_plugins.cli.main", "dashboard", str(tmp_path / "a.db"), "--root-path", "/x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert "/x/?token=" in url
        with httpx.Client(follow_redirects=True) as browser:
            assert browser.get(url).text.startswith("<!doctype html>")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
