"""The page that a tuner serves from its own process."""

import pickle
import re
import subprocess
import sys

import pytest

import hpo_plugins as hpo

pytest.importorskip("uvicorn")
pytest.importorskip("plotly")
import httpx


def tuner_of(storage=None, **arguments):
    return hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=storage, max_trials=3, seed=0, **arguments
    )


def test_notebook_shows_a_frame_of_the_study(storage):
    tuner = tuner_of(storage, name="a & b")
    tuner.ask().report(1, {"loss": 0.5})
    dashboard = tuner.dashboard()
    try:
        shown = re.search(r'<iframe src="([^"]*)"', dashboard._repr_html_())[1]
        assert shown == dashboard.url
        token = dashboard.url.partition("token=")[2]
        assert '"study": "a & b"' in httpx.get(dashboard.url, timeout=60).text
        data = dashboard.url.replace("/?", "/page/study?name=a%20%26%20b&")
        assert httpx.get(data, timeout=60).json()["rows"][0][2] == 0.5
        assert token in repr(dashboard)
    finally:
        dashboard.close()
    assert repr(dashboard) == "Dashboard, closed"
    with pytest.raises(httpx.ConnectError, match="refused"):
        httpx.get(dashboard.url)


def test_second_page_closes_the_first():
    tuner = tuner_of()
    first = tuner.dashboard()
    second = tuner.dashboard(allow_actions=True)
    assert repr(first) == "Dashboard, closed"
    second.close()


@pytest.mark.parametrize("address", ["/user/me/proxy/{port}/", "/user/me/proxy/{port}"])
def test_address_of_a_proxy_is_used(address):
    dashboard = tuner_of().dashboard(address=address)
    dashboard.close()
    assert re.fullmatch(r"/user/me/proxy/\d+/\?token=[\w-]+", dashboard.url)


@pytest.mark.parametrize("given", [{"port": -1}, {"port": "x"}, {"height": 5}, {"height": None}, {"allow_actions": 1}])
def test_wrong_argument_is_one_sentence(given):
    with pytest.raises(hpo.InvalidArgument, match="must be"):
        tuner_of().dashboard(**given)


def test_copy_in_another_process_has_no_page(tmp_path):
    worker = pickle.loads(pickle.dumps(tuner_of(tmp_path / "a.db")))
    with pytest.raises(hpo.InvalidArgument, match="must be called in the process that has made or loaded the tuner"):
        worker.dashboard()


def test_process_ends_quietly_with_its_page(tmp_path):
    script = f"""
import hpo_plugins as hpo
tuner = hpo.Tuner({{"x": hpo.Continuous(0, 1)}}, hpo.Minimize("loss"), storage={str(tmp_path / "a.db")!r}, max_trials=1)
print(tuner.dashboard())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.startswith("Dashboard at http://127.0.0.1:")
    assert ended.stderr == ""


def test_configurations_that_a_function_must_accept_are_refused_without_it(tmp_path):
    """The page has no function of the user's: it says so rather than enqueue what may be invalid."""
    tuner = tuner_of(tmp_path / "a.db", valid=lambda p: p["x"] > 0.2)
    dashboard = tuner.dashboard(allow_actions=True)
    try:
        token = dashboard.url.partition("token=")[2]
        key = re.search(r'"key":"(\w+)"', httpx.get(dashboard.url, timeout=60).text)[1]
        headers = {"Authorization": f"Bearer {token}", "X-HPO-Plugins-Key": key}
        url = dashboard.url.partition("?")[0] + "page/act?name=default"
        answer = httpx.post(url, json={"action": "enqueue", "params": {"x": 0.5}}, headers=headers, timeout=60)
        assert (answer.status_code, answer.text.count("\n")) == (400, 1), answer.text
        assert "valid" in answer.text
    finally:
        dashboard.close()
