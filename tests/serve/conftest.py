"""Servers on this machine."""

import contextlib
import subprocess
import sys
import threading

import pytest

from hpo_plugins.serve.app import create_app
from hpo_plugins.serve.server import address_of, bound, new_server
from hpo_plugins.storage import open_storage

TOKEN = "a-token-for-the-tests"


@pytest.fixture(autouse=True)
def token_in_the_environment(monkeypatch):
    monkeypatch.setenv("HPO_PLUGINS_TOKEN", TOKEN)


@contextlib.contextmanager
def serving(target, port=0, **options):
    """Serve a storage from a thread of this process; yields the URL."""
    storage, listening = open_storage(target), threading.Event()
    listener = bound("127.0.0.1", port)
    app = create_app(storage, TOKEN, reader=open_storage(target), **options)
    server = new_server(app, listening=listening.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert listening.wait(30)
        yield address_of(listener, root_path=options.get("root_path", ""))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def url(tmp_path):
    with serving(tmp_path / "served.db") as address:
        yield address


SERVER = "import sys; from hpo_plugins.cli.main import main; sys.argv[1:] = {arguments!r}; main()"


def start_server(*arguments):
    """Start the command; returns its process when it listens."""
    command = [sys.executable, "-c", SERVER.format(arguments=["serve", *map(str, arguments)])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if "Ctrl-C ends the server" in line:
            return server
    raise AssertionError(f"the server has ended with {server.wait()}")


def kill(server):
    server.kill()
    server.wait()
    server.stdout.close()


def free_port():
    with bound("127.0.0.1", 0) as found:
        return found.getsockname()[1]
