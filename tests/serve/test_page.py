"""The page at the address of the server."""

import re
import signal
import threading

import httpx
import pytest
from support import store_of

import hpo_plugins as hpo

from .conftest import TOKEN, free_port, kill, start_server

KNOWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(params=[()])
def served(tmp_path, request):
    """A server with a study of one trial; yields the process, the address and the study."""
    port = free_port()
    server = start_server(tmp_path / "served.db", "--port", port, *request.param)
    url = f"http://127.0.0.1:{port}"
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=3, storage=url, name="s"
    )
    trial = tuner.ask()
    trial.report(1, {"loss": 0.5})
    try:
        yield server, url, tuner
    finally:
        kill(server)


@pytest.mark.process
def test_the_servers_address_shows_the_page_to_who_has_the_token(served):
    _, url, _ = served
    assert httpx.get(url).status_code == 401
    assert "<html" in httpx.get(url, headers=KNOWN).text
    shown = httpx.get(f"{url}/page/study", params={"name": "s"}, headers=KNOWN).json()
    assert [row[:3] for row in shown["rows"]] == [[0, "running", 0.5]]


@pytest.mark.process
def test_actions_on_the_servers_page_need_permission(served):
    _, url, tuner = served
    message = {"study": "s", "action": "stop", "trial": 0}
    refused = httpx.post(f"{url}/page/act", json=message, headers=KNOWN | {"Origin": url})
    assert refused.status_code == 403
    assert tuner.trials[0].state is hpo.TrialState.RUNNING


@pytest.mark.process
def test_ctrl_c_ends_a_server_whose_page_is_open(served):
    server, url, _ = served
    with httpx.stream("GET", f"{url}/page/events", params={"name": "s"}, headers=KNOWN, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("event")
        server.send_signal(signal.SIGINT)
        assert list(lines)  # the answer ends, and is not cut off
    assert server.wait(60) == 0


@pytest.mark.process
@pytest.mark.parametrize("served", [("--allow-actions",)], indirect=True)
def test_action_on_the_page_wakes_clients_that_wait(served):
    _, url, tuner = served
    key = re.search(r'"key":"(\w+)"', httpx.get(url, headers=KNOWN, timeout=60).text)[1]
    store, woken = store_of(tuner), threading.Event()
    revision = store.changes(0).revision

    def wait():
        while store.changes(0).revision == revision:
            store.wait_for_changes(revision, 3_600)  # the server answers after 20 s at the latest
        woken.set()

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    answer = httpx.post(
        f"{url}/page/act", params={"name": "s"}, json={"action": "enqueue", "params": {"x": 0.5}},
        headers=KNOWN | {"x-hpo-plugins-key": key}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200
    assert woken.wait(60)
