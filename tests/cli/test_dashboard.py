"""The dashboard on a real socket: its page, and its answers to any request and any client."""

import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli import dashboard
from hpo_plugins.cli.dashboard import new_server, url_of
from hpo_plugins.cli.main import main

pytest.importorskip("plotly")


def new_tuner(folder):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=folder / "a.db", max_trials=2)


@contextlib.contextmanager
def serving(look, root=""):
    server = new_server(look, "127.0.0.1", 0, root)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(tmp_path):
    with serving(new_tuner(tmp_path)._view) as server:
        yield server


def raw(server, request):
    """Send bytes; return all that the server answers."""
    with socket.create_connection(server.server_address[:2], timeout=60) as client:
        with contextlib.suppress(ConnectionError):  # it may answer before it has read all
            client.sendall(request)
        return answer_of(client)


def answer_of(client):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def get(url, **headers):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read().decode()


def test_dashboard_shows_the_study_as_it_is_now(tmp_path):
    tuner = new_tuner(tmp_path)
    with serving(hpo.Tuner.load(tmp_path / "a.db")._view) as server:
        url = url_of(server)
        assert url.startswith("http://127.0.0.1:")
        assert '"best":null' in get(url)
        tuner.ask().report(1, {"loss": 0.125})
        page = get(url)
        assert "0.125" in page
        assert 'http-equiv="refresh"' in page
        for file in tmp_path.iterdir():  # the study is deleted while it is watched
            file.write_bytes(b"gone")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            get(url)


def test_page_is_for_those_who_know_the_token(server):
    url = url_of(server)
    for wrong in (url.partition("?")[0], url + "x", url.replace("token=", "token=%E9"), url.replace("token", "other")):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(wrong)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(url.replace("/?", "/etc?"))


# Any request.


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET " + b"/a" * 10_000 + b" HTTP/1.1\r\n\r\n", 403),
        (b"GET /?token=" + b"9" * 10_000 + b" HTTP/1.1\r\n\r\n", 403),
        (b"GET /?" + b"token=1&" * 1000 + b" HTTP/1.1\r\n\r\n", 403),
        (b"GET //[ HTTP/1.1\r\n\r\n", 403),
        (b"GET /?token=%ff\xff HTTP/1.1\r\n\r\n", 403),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 403),
        (b"GET / HTTP/1." + b"9" * 10_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 10_000 + b"\r\n\r\n", 403),
        (b"one two three four\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\xfc\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_any_request_has_a_status_and_a_sentence(request_, status, server, capfd):
    answer = raw(server, request_)
    if answer:  # else the system has reset the connection, since the server had not read all
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert b"Content-Type: text/plain" in head
        assert (body.count(b"\n"), len(body) < 250) == (1, True)
        assert b"<" not in body
    assert "Traceback" not in capfd.readouterr().err


def test_head_is_the_page_without_its_body(server):
    path = url_of(server).partition(server.server_address[0])[2].partition("/")[2]
    answer = raw(server, f"HEAD /{path} HTTP/1.1\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    assert f"Content-Length: {len(get(url_of(server)).encode())}".encode() in head
    assert body == b""


@pytest.mark.parametrize("root", ["/tuning", "tuning/", "/a b/c"])
def test_page_is_found_behind_a_proxy(root, tmp_path):
    with serving(new_tuner(tmp_path)._view, root) as server:
        url = url_of(server)
        bare = url.replace(url.split("/", 3)[3].partition("?")[0], "")
        assert url.partition("?")[0].endswith({"/a b/c": "/a%20b/c/"}.get(root, "/tuning/"))
        for path in (url, url.replace("/?", "?"), bare):  # as it is, and as proxies that cut the path off ask
            assert get(path).startswith("<!doctype html>")


def test_page_is_found_where_a_proxy_says_that_it_is(server):
    url = url_of(server).replace("/?", "/study/1/?")
    assert get(url, **{"X-Forwarded-Prefix": "/study/1"}).startswith("<!doctype html>")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(url, **{"X-Forwarded-Prefix": "/study/2"})


def test_tab_that_is_closed_says_nothing(server, capfd, caplog):
    path = url_of(server).split("/", 3)[3]
    for _ in range(3):
        client = socket.create_connection(server.server_address[:2])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, rather than an end
        client.sendall(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        client.close()
    assert get(url_of(server)).startswith("<!doctype html>")
    assert capfd.readouterr().err == ""
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_is_one_sentence(tmp_path, monkeypatch, capfd, caplog):
    with serving(new_tuner(tmp_path)._view) as server:
        monkeypatch.setattr(dashboard, "report", lambda *_, **__: 1 / 0)
        with caplog.at_level(logging.INFO, "hpo_plugins"), pytest.raises(urllib.error.HTTPError, match="500"):
            get(url_of(server))
    assert [r.getMessage() for r in caplog.records] == [
        "the dashboard could not make its page: ZeroDivisionError: division by zero"
    ]
    assert "Traceback" not in capfd.readouterr().err


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


def test_privileged_port_is_one_sentence(monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(dashboard.Server, "server_bind", refused)  # root, as in a container, may bind all
    with pytest.raises(hpo.InvalidArgument, match="port=80: Permission denied.* ports below 1024 may need rights"):
        new_server(None, "127.0.0.1", 80)


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 300, "a..b", "\0"])
def test_wrong_host_is_one_sentence(host, tmp_path):
    new_tuner(tmp_path)
    code, output = refusal("--host", host, storage=tmp_path / "a.db")
    assert code == 1
    assert "host and port must be an address of this machine that is free, but got host=" in output


@pytest.mark.parametrize("port", [-1, 65536, 10**30, 1.5, "80"])
def test_wrong_port_is_one_sentence(port):
    with pytest.raises(hpo.InvalidArgument, match="port must be a whole number of at"):
        new_server(None, "127.0.0.1", port)


def test_ports_of_the_command_are_checked(tmp_path):
    new_tuner(tmp_path)
    code, output = refusal("--port", "65536", storage=tmp_path / "a.db")
    assert (code, "65536 is not in the range 0<=x<=65535" in output) == (2, True)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_address_has_brackets():
    try:
        server = new_server(None, "::1", 0)
    except hpo.InvalidArgument:
        pytest.skip("this machine has no IPv6 address")
    with server:
        assert url_of(server).startswith("http://[::1]:")


# Load.


def test_page_is_made_again_when_the_study_has_changed(tmp_path, monkeypatch):
    tuner, made = new_tuner(tmp_path), []
    monkeypatch.setattr(dashboard, "report", lambda view, head: made.append(len(view.trials)) or f"page {len(made)}")
    monkeypatch.setattr(dashboard, "REFRESH_SECONDS", 1e9)  # of the clock
    with serving(tuner._view) as server:
        assert [get(url_of(server)) for _ in range(3)] == ["page 1"] * 3
        trial = tuner.ask()
        assert [get(url_of(server)) for _ in range(3)] == ["page 2"] * 3
        trial.report(1, {"loss": 1.0})
        assert get(url_of(server)) == "page 3"
        trial.end()
        assert [get(url_of(server)) for _ in range(3)] == ["page 4"] * 3


def test_page_that_many_ask_for_is_made_once(tmp_path, monkeypatch):
    made, pages = [], []
    monkeypatch.setattr(dashboard, "report", lambda view, head: made.append(1) or "page")
    with serving(new_tuner(tmp_path)._view) as server:
        threads = [threading.Thread(target=lambda: pages.append(get(url_of(server)))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (pages, made) == (["page"] * 8, [1])


def test_silent_client_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard._Handler, "timeout", 0.05)
    with serving(new_tuner(tmp_path)._view) as server:
        assert raw(server, b"") == b""  # returns only once the server has closed the connection
        assert raw(server, b"GET / HTTP/1.1\r\n") == b""


def test_slow_request_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(dashboard._Handler, "timeout", 300)
    with serving(new_tuner(tmp_path)._view) as server:
        assert b"must contain the token" in raw(server, b"GET / HTTP/1.1\r\nHost: a")


def test_connections_are_limited_and_free_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(dashboard, "REQUEST_SECONDS", 1e9)
    monkeypatch.setattr(dashboard._Handler, "timeout", 300)
    with serving(new_tuner(tmp_path)._view) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(server.server_address[:2])) for _ in range(2)]
        assert raw(server, b"").startswith(b"HTTP/1.0 503 ")
        for client in silent:
            client.shutdown(socket.SHUT_WR)
            assert answer_of(client) == b""
        for _ in range(2):
            assert server._free.acquire(timeout=60)  # each thread gives its place back
            server._free.release()
        assert get(url_of(server)).startswith("<!doctype html>")


def test_command_prints_its_url_and_ends_with_ctrl_c(tmp_path):
    new_tuner(tmp_path)
    command = [sys.executable, "-m", "hpo_plugins.cli.main", "dashboard", str(tmp_path / "a.db"), "--root-path", "/x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert "/x/?token=" in url
        assert get(url).startswith("<!doctype html>")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
