"""What the page answers, to whom, and what a person can do with it."""

import csv
import io
import json
import logging
import math
import re
import sqlite3

import pytest

import hpo_plugins as hpo
from hpo_plugins.coordination.acting import STOPPED
from hpo_plugins.records import Annotation, TrialState

pytest.importorskip("starlette")
pytest.importorskip("plotly")
from starlette.testclient import TestClient

from hpo_plugins.page import data
from hpo_plugins.page.answers import KEY_HEADER
from hpo_plugins.page.app import MAX_BODY, create_app
from hpo_plugins.page.compare import Progress

TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SPACE = {
    "x": hpo.Continuous(0, 1),
    "n": hpo.Integer(1, 9),
    "k": hpo.Categorical(["a", 1, True, 1.0, None]),
    "c": hpo.Continuous(0, 1, when={"k": "a"}),
}
READS = ["studies", "study", "insights", "events", "trial", "curves", "compare", "download", "plotly.js"]


def tuner_of(storage, name="default", **arguments):
    arguments = {"max_trials": 4, "seed": 0, "progress": False} | arguments
    return hpo.Tuner(SPACE, hpo.Minimize("loss"), storage=storage, name=name, **arguments)


def trained(storage, **arguments):
    tuner = tuner_of(storage, **arguments)
    for trial in tuner:
        for epoch in (1, 2, 3):
            trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "accuracy": 0.5})
    return tuner


def client_of(storage, *, headers=BEARER, base="http://127.0.0.1", **arguments):
    arguments = {"token": TOKEN, "allow_actions": True} | arguments
    app = create_app(storage, **arguments)
    return TestClient(app, base, headers=headers, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def path(tmp_path):
    trained(tmp_path / "a.db")
    return tmp_path / "a.db"


def key_of(client):
    config = re.search(r'id="config">(.*?)</script>', client.get("/").text)[1]
    return json.loads(config)["key"]


def act(client, body, *, name="default", **headers):
    headers = {"Content-Type": "application/json", KEY_HEADER: key_of(client)} | headers
    headers = {name: value for name, value in headers.items() if value is not None}
    content = body if isinstance(body, bytes) else json.dumps(body)
    return client.post("/page/act", params={"name": name}, content=content, headers=headers)


# Who may read.


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": f"token={TOKEN}"}])
@pytest.mark.parametrize("read", ["/", *(f"/page/{name}" for name in READS), "/nothing"])
def test_without_the_token_no_byte_of_a_study_is_sent(read, given, path):
    answer = client_of(path, headers=given).get(read, params={"name": "default", "what": "trials", "trial": "0"})
    assert answer.status_code == 401
    assert "needs its token" in answer.text
    assert "loss" not in answer.text


def test_token_in_the_address_becomes_a_cookie(path):
    client = client_of(path, headers={})
    answer = client.get(f"/?token={TOKEN}&study=default")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?study=default")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert TOKEN not in client.get("/").text
    assert client.get("/page/study", params={"name": "default"}).json()["name"] == "default"


def test_frame_keeps_the_token_in_its_address(path):
    """Browsers send no cookies into a frame on another site's page."""
    client = client_of(path, headers={}, in_frame=True)
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    assert "frame-ancestors" not in answer.headers["content-security-policy"]
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401


def test_page_runs_no_script_but_its_own(path):
    answer = client_of(path).get("/")
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert f'nonce="{nonce}"' in answer.text
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert nonce not in client_of(path).get("/").headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("root", ["/tuning", "tuning/", "/a b/c"])
def test_page_is_found_behind_a_proxy(root, path):
    client, prefix = client_of(path, root_path=root), "/" + root.strip("/")
    for place in (f"{prefix}/", prefix, "/"):  # as it is, and as proxies that cut the path off ask
        assert client.get(place).text.startswith("<!doctype html>")
    assert client.get(f"{prefix}/page/studies").json() == client.get("/page/studies").json()
    signed_in = client_of(path, root_path=root, headers={}).get(f"/?token={TOKEN}")
    assert signed_in.headers["location"].startswith(prefix.replace(" ", "%20") + "/")


def test_page_is_found_where_a_proxy_says_that_it_is(path):
    client = client_of(path)
    for place in ("/study/1/", "/"):
        assert client.get(place, headers={"X-Forwarded-Prefix": "/study/1"}).status_code == 200
    answer = client_of(path, headers={}).get(f"/?token={TOKEN}", headers={"X-Forwarded-Prefix": "/study/1"})
    assert answer.headers["location"] == "/study/1/"
    for wrong in ("//evil.example", "/a//b", "evil", "/\r\nx", "/a?b"):
        answer = client_of(path, headers={}).get(f"/?token={TOKEN}", headers={"X-Forwarded-Prefix": wrong})
        assert answer.headers["location"] == "/"


# What it shows.


def test_page_shows_the_study_as_it_is_now(tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    client = client_of(tmp_path / "a.db")

    def shown():
        return client.get("/page/study", params={"name": "default"}).json()

    before = shown()
    assert (before["rows"], before["best"]) == ([], None)
    trial = tuner.ask()
    trial.report(1, {"loss": 0.125})
    after = shown()
    assert after["rows"][0][:4] == [0, "running", 0.125, 1]
    assert after["state"] != before["state"]
    assert after["running"] == [0]
    trial.end()
    assert shown()["rows"][0][1] == "completed"
    hpo.studies(tmp_path / "a.db")["default"].delete()
    answer = client.get("/page/study", params={"name": "default"})
    assert (answer.status_code, "deleted" in answer.text) == (404, True)
    tuner_of(tmp_path / "a.db")
    assert shown()["rows"] == []  # a new study of the same name


def test_study_that_cannot_be_read_is_one_sentence(path):
    client = client_of(path)
    assert client.get("/page/study", params={"name": "default"}).status_code == 200
    for file in path.parent.iterdir():
        if file.is_file():
            file.write_bytes(b"gone")
    answer = client.get("/page/study", params={"name": "default"})
    assert answer.status_code == 503
    assert answer.text.count("\n") == 1


def test_view_is_made_once_for_all_who_ask(path, monkeypatch):
    made = []
    monkeypatch.setattr(data, "study_json", lambda view, state, actions: made.append(state) or "{}")
    client = client_of(path)
    for _ in range(3):
        assert client.get("/page/study", params={"name": "default"}).text == "{}"
    assert len(made) == 1
    hpo.Tuner.load(path).annotate(note="new")
    client.get("/page/study", params={"name": "default"})
    assert len(made) == 2


@pytest.mark.parametrize(
    ("read", "params", "status", "sentence"),
    [
        ("study", {}, 400, "name must name a study"),
        ("study", {"name": "../a"}, 404, "No study '../a'"),
        ("study", {"name": "\0"}, 404, "No study"),
        ("trial", {"name": "default", "trial": "4"}, 400, "one of the 4 trials"),
        ("trial", {"name": "default", "trial": "-1"}, 400, "numbers of trials"),
        ("trial", {"name": "default", "trial": "x" * 10_000}, 400, "numbers of trials"),
        ("trial", {"name": "default", "trial": "\u0663"}, 400, "numbers of trials"),
        ("trial", {"name": "default"}, 400, "one of the 4 trials"),
        ("trial", {"name": "default", "trial": "1,2"}, 400, "one of the 4 trials"),
        ("download", {"name": "default", "what": "../../etc/passwd"}, 400, "what must be one of report, trials"),
        ("compare", {}, 400, "at least one study"),
        ("compare", {"name": "nobody"}, 404, "No study 'nobody'"),
        ("nothing", {}, 404, "no such page"),
        ("../../../etc/passwd", {}, 404, "no such page"),
    ],
)
def test_wrong_request_is_one_sentence(read, params, status, sentence, path):
    answer = client_of(path).get(f"/page/{read}", params=params)
    assert (answer.status_code, sentence in answer.text) == (status, True), answer.text
    assert (answer.text.count("\n"), len(answer.text) < 1100, "Traceback" in answer.text) == (1, True, False)


def test_defect_is_one_sentence(path, monkeypatch, caplog):
    monkeypatch.setattr(data, "study_json", lambda *_: 1 / 0)
    with caplog.at_level(logging.INFO, "hpo_plugins"):
        answer = client_of(path).get("/page/study", params={"name": "default"})
    assert (answer.status_code, answer.text) == (500, "The page could not answer; please report this.\n")
    assert [record.getMessage() for record in caplog.records] == [
        "the page could not answer a request: ZeroDivisionError: division by zero"
    ]


def test_names_are_data(tmp_path):
    evil = "</script><script>alert(1)</script>"
    trained(tmp_path / "a.db", name=evil, notes=None)
    client = client_of(tmp_path / "a.db")
    assert "<script>alert" not in client.get("/").text
    assert client.get("/page/study", params={"name": evil}).json()["name"] == evil
    assert evil not in client.get("/page/study", params={"name": evil}).text


def test_names_with_control_characters_are_shown_as_text_and_still_found(tmp_path):
    name, parameter = "a\x1b[2J\u202e<b>", "p\x1b\n"
    space = {parameter: hpo.Continuous(0, 1)}
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), storage=tmp_path / "a.db", name=name, max_trials=2, seed=0)
    tuner.ask().report(1, {"loss": 1.0})
    client = client_of(tmp_path / "a.db")
    page_text = client.get("/").text
    config = json.loads(re.search(r'id="config">(.*?)</script>', page_text)[1])
    assert config["study"] == name
    assert "\x1b" not in page_text
    (listed,) = client.get("/page/studies").json()
    assert (listed["name"], listed["label"]) == (name, r"a\x1b[2J\u202e<b>")
    shown = client.get("/page/study", params={"name": listed["name"]})
    assert not {"\x1b", "\u202e"} & set(shown.text)
    found = shown.json()
    assert (found["key"], found["name"], found["names"]) == (name, listed["label"], [parameter])
    assert found["fields"][0]["label"] == "p\\x1b\n"
    assert act(client, {"action": "enqueue", "params": {found["names"][0]: 0.5}}, name=name).status_code == 200
    trial = client.get("/page/trial", params={"name": name, "trial": 0}).json()
    assert set(trial["values"]) == {parameter}


@pytest.mark.parametrize("details", ['{"tags": 5}', '{"note": {"a": [1]}, "tags": {"b": 1}}', '{"note": null}', "{}"])
@pytest.mark.parametrize("at", [1.0, 9e999, -1.0])
def test_log_of_a_stranger_is_shown(details, at, path):
    hpo.Tuner.load(path).annotate(0, note="x")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_actions SET details = ?, at = ?, trial = 99", (details, at))
    connection.close()
    client = client_of(path)
    assert client.get("/page/study?name=default").json()["actions"][0]["trial"] == 99
    assert client.get("/page/download?name=default&what=actions").status_code == 200


def test_one_trial_has_its_metrics_and_the_values_of_a_form(path):
    tuner = hpo.Tuner.load(path)
    shown = client_of(path).get("/page/trial", params={"name": "default", "trial": 2}).json()
    record = tuner.trials[2]
    assert float(shown["values"]["x"]) == record.params["x"]
    assert repr(SPACE["k"].values[int(shown["values"]["k"])]) == repr(record.params["k"])
    assert ["accuracy, epoch 3", "0.5"] in shown["facts"]
    curve = client_of(path).get("/page/curves", params={"name": "default", "trial": "2,7"}).json()
    assert [(each["trial"], each["x"]) for each in curve] == [(2, [1, 2, 3])]


def test_downloads_are_the_whole_tables(path):
    client = client_of(path)
    client.headers["accept"] = "*/*"
    hpo.Tuner.load(path).annotate(0, note="=HYPERLINK()")

    def rows(what):
        answer = client.get("/page/download", params={"name": "default", "what": what})
        assert answer.headers["content-disposition"] == f'attachment; filename="{what}.csv"'
        return list(csv.DictReader(io.StringIO(answer.text)))

    assert [row["number"] for row in rows("trials")] == ["0", "1", "2", "3"]
    assert len(rows("curves")) == 12
    assert rows("actions")[0]["details"].startswith("'=")
    report = client.get("/page/download", params={"name": "default", "what": "report"})
    assert report.text.startswith("<!doctype html>")


def test_insights_come_apart(path):
    client = client_of(path)
    assert {figure["kind"] for figure in client.get("/page/study?name=default").json()["figures"]} >= {
        "history",
        "curves",
    }
    assert set(client.get("/page/insights?name=default").json()) == {"tiles", "advice", "figures"}


# Several studies.


def test_studies_are_compared_by_their_best_value_so_far(tmp_path):
    one, two = trained(tmp_path / "a.db", name="one"), trained(tmp_path / "a.db", name="two", seed=1)
    found = client_of(tmp_path / "a.db").get("/page/compare", params={"name": ["one", "two"]}).json()
    assert found["metric"] == "loss"
    for each, tuner in zip(found["studies"], (one, two), strict=True):
        assert each["epochs"][-1] == 12
        assert each["best"][-1] == pytest.approx(tuner.best_trial.value, rel=1e-4)
        assert each["best"] == sorted(each["best"], reverse=True)
        assert each["seconds"] == sorted(each["seconds"])


def test_progress_counts_failed_trials_as_work_and_not_as_results(storage):
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Maximize("score"), max_trials=2, seed=0, storage=storage)
    for trial in tuner:
        trial.report(1, {"score": 5.0})
        trial.report(2, {"score": math.nan if trial.number == 0 else 3.0})
    progress = Progress.of(tuner._view())
    assert (progress.epochs[-1], progress.best) == (4, [5.0, 5.0])
    assert progress.epochs[0] == 3  # trial 0 failed, so that its epochs are work only


def test_progress_is_empty_without_trials(storage):
    assert Progress.of(tuner_of(storage)._view()) == Progress([], [], [])


def test_different_objectives_are_said(tmp_path):
    tuner_of(tmp_path / "a.db", name="one")
    hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Maximize("score"), storage=tmp_path / "a.db", name="two")
    found = client_of(tmp_path / "a.db").get("/page/compare", params={"name": ["one", "two"]}).json()
    assert "different objectives: Minimize('loss'), Maximize('score')" in found["note"]


# What a person may do.


def test_actions_need_to_be_allowed(path):
    client = client_of(path, allow_actions=False)
    assert key_of(client) == ""
    answer = act(client, {"action": "annotate", "note": "x"}, **{KEY_HEADER: "x"})
    assert (answer.status_code, "--allow-actions" in answer.text) == (403, True)
    assert hpo.Tuner.load(path).actions == ()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({KEY_HEADER: None}, 403),
        ({KEY_HEADER: "wrong"}, 403),
        ({KEY_HEADER: "\u00e9".encode("latin-1")}, 403),
        ({"Content-Type": "text/plain"}, 415),  # what a form of another site can send
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ],
)
def test_action_of_another_site_is_refused(headers, status, path):
    """Even with the token: a browser that knows the page's cookie sends it along."""
    answer = act(client_of(path), {"action": "annotate", "note": "x"}, **headers)
    assert answer.status_code == status
    assert hpo.Tuner.load(path).actions == ()


def test_cookie_alone_is_not_enough(path):
    client = client_of(path, headers={})
    client.get(f"/?token={TOKEN}")
    body = {"action": "annotate", "note": "x"}
    assert client.post("/page/act?name=default", json=body).status_code == 403
    assert act(client, body).status_code == 200
    assert client.get("/page/act?name=default").status_code == 405


def test_name_of_the_server_is_checked(path):
    """A page of another site whose name leads here (DNS rebinding) has no cookie of this server."""
    answer = client_of(path, headers={}, base="http://evil.example").get(f"/?token={TOKEN}")
    assert (answer.status_code, "--allowed-host evil.example" in answer.text) == (421, True)
    allowed = client_of(path, headers={}, base="http://my.example", hosts=["my.example"]).get(f"/?token={TOKEN}")
    assert allowed.status_code == 303


def test_running_trial_is_stopped(tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    answer = act(client_of(tmp_path / "a.db"), {"action": "stop", "trial": 0, "note": "hopeless"})
    assert answer.json() == {"message": "Trial 0 stops at its next report."}
    assert trial.report(2, {"loss": 1.0})
    trial.end()
    assert tuner.trials[0].stop_reason == f"{STOPPED}: hopeless"


def test_trial_is_failed_and_retried(tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    tuner.ask()
    client = client_of(tmp_path / "a.db")
    assert act(client, {"action": "fail", "trial": 0, "note": "hangs"}).status_code == 200
    assert tuner.trials[0].state is TrialState.FAILED
    assert act(client, {"action": "restart", "trial": 0}).status_code == 200
    assert tuner.trials[0].state is TrialState.RUNNING
    assert [row["action"] for row in client.get("/page/study?name=default").json()["actions"]] == ["restart", "fail"]


@pytest.mark.parametrize("position", range(5))
def test_enqueued_configuration_has_values_with_their_own_types(position, tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    client = client_of(tmp_path / "a.db")
    answer = act(client, {"action": "enqueue", "params": {"n": 3.0, "k": position, "x": None}})
    assert answer.status_code == 200, answer.text
    params = tuner.ask().params
    assert params["n"] == 3
    assert type(params["n"]) is int
    assert repr(params["k"]) == repr(SPACE["k"].values[position])
    assert client.get("/page/study?name=default").json()["actions"][0]["action"] == "enqueue"


def test_form_filled_from_a_trial_is_that_trial(path):
    """What a page sends back unchanged is the same configuration, which was tried."""
    client = client_of(path)
    tuner = hpo.Tuner.load(path)
    from hpo_plugins.page.form import params_of, values_of

    for record in tuner.trials:
        assert params_of(tuner.space, values_of(tuner.space, record.params)) == record.params
    assert [field["kind"] for field in client.get("/page/study?name=default").json()["fields"]] == [
        "continuous", "integer", "choice", "continuous",
    ]  # fmt: skip


def test_enqueueing_in_a_study_that_is_over_says_so(path):
    answer = act(client_of(path), {"action": "enqueue", "params": {"x": 0.5}})
    assert "no trial will be started: max_trials=4" in answer.json()["message"]


def test_notes_tags_and_names(path):
    client = client_of(path)
    assert act(client, {"action": "annotate", "trial": 1, "note": "a \u2603", "tags": ["b"]}).json() == {
        "message": "Saved."
    }
    assert client.get("/page/study?name=default").json()["annotations"] == {"1": {"note": "a \u2603", "tags": ["b"]}}
    answer = act(client, {"action": "rename", "name": "churn"})
    assert answer.json() == {"message": "The study is now 'churn'."}
    assert client.get("/page/study?name=default").status_code == 404
    assert client.get("/page/studies").json() == [{"name": "churn", "label": "churn", "counts": {"completed": 4}}]
    tuner = hpo.Tuner.load(path, "churn")
    assert tuner.annotations == {1: Annotation("a \u2603", ("b",))}
    assert tuner.actions[-1][2:] == ("rename", None, {"from": "default", "to": "churn"})


def test_study_is_not_renamed_while_workers_train_it(tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    tuner.ask()
    answer = act(client_of(tmp_path / "a.db"), {"action": "rename", "name": "other"})
    assert (answer.status_code, "while workers train its trials 0" in answer.text) == (503, True)
    assert hpo.studies(tmp_path / "a.db").keys() == {"default"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        ([], "must be JSON"),
        ({}, "must be JSON"),
        ({"action": "drop tables"}, "must be JSON"),
        ({"action": "stop", "more": 1}, "must be JSON"),
        ({"action": "stop"}, "stop needs trial"),
        ({"action": "stop", "trial": 9}, "number=9"),
        ({"action": "stop", "trial": True}, "must be JSON"),
        ({"action": "stop", "trial": 0}, "trial 0 is completed"),
        ({"action": "stop", "trial": 0, "note": "x" * 10_001}, "note must be text"),
        ({"action": "annotate"}, "needs note= or tags="),
        ({"action": "annotate", "tags": ["a\nb"]}, "tags must be"),
        ({"action": "enqueue"}, "at least one parameter"),
        ({"action": "enqueue", "params": {"x": 2}}, "x must be"),
        ({"action": "enqueue", "params": {"k": 5}}, "k must be a whole number"),
        ({"action": "enqueue", "params": {"k": 0.5}}, "k must be a whole number"),
        ({"action": "enqueue", "params": {"n": 1.5}}, "n must be"),
        ({"action": "enqueue", "params": {"unknown": 1}}, "params must have names of x, n, k, c"),
        ({"action": "enqueue", "params": {"x": "1"}}, "must be JSON"),
        ({"action": "rename", "name": ""}, "name must be"),
        ({"action": "rename", "name": "a\nb"}, "printable"),
        ({"action": "rename", "name": "x" * 600}, "512"),
    ],
)
def test_wrong_action_is_one_sentence_and_changes_nothing(body, sentence, path):
    answer = act(client_of(path), body)
    assert (answer.status_code, sentence in answer.text) == (400, True), answer.text
    assert (answer.text.count("\n"), len(answer.text) < 1100) == (1, True)
    assert hpo.Tuner.load(path).actions == ()


def test_large_action_is_refused(path):
    assert act(client_of(path), b" " * (MAX_BODY + 1)).status_code == 413


def test_page_deletes_no_checkpoint(tmp_path):
    """Which files to keep is known to the search alone."""
    tuner = tuner_of(tmp_path / "a.db", checkpoints="keep")
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    folder = tmp_path / "a.db.checkpoints"
    kept = tuner._loop.session.checkpoints.folder(0) / "epoch-000001.1"
    kept.mkdir(parents=True)
    client = client_of(tmp_path / "a.db")
    for action in ("restart", "fail"):
        assert act(client, {"action": action, "trial": 0}).status_code == 200
    assert kept.is_dir()
    assert folder.is_dir()


# Studies in memory.


def test_study_in_memory_is_shown_and_acted_on():
    tuner = tuner_of(None)
    trial = tuner.ask()
    client = client_of(tuner._loop.session.storage)
    trial.report(1, {"loss": 1.0})
    assert client.get("/page/study?name=default").json()["rows"][0][:4] == [0, "running", 1, 1]
    assert client.get("/page/studies").json() == [{"name": "default", "label": "default", "counts": {"running": 1}}]
    assert act(client, {"action": "stop", "trial": 0}).status_code == 200
    assert trial.report(2, {"loss": 1.0})
    assert "in memory cannot be renamed" in act(client, {"action": "rename", "name": "b"}).text


def test_storage_without_studies_has_a_page(tmp_path):
    from hpo_plugins.storage import open_storage

    open_storage(tmp_path / "a.db")
    client = client_of(tmp_path / "a.db")
    assert '"study": null' in client.get("/").text
    assert client.get("/page/studies").json() == []


def test_page_needs_a_storage_that_exists(tmp_path):
    with pytest.raises(hpo.StudyNotFound, match="No storage at"):
        create_app(tmp_path / "none.db", token=TOKEN)
