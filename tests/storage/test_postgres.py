"""A real PostgreSQL server: many processes, a server that dies, and what its errors say."""

import functools
import signal
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from support import history_of, store_of

import hpo_plugins as hpo
from hpo_plugins.storage import open_storage, retry, schema

pytest.importorskip("psycopg")
X = {"x": hpo.Continuous(0, 1)}
WORKERS = """
import os, sys
import psycopg, scipy.stats, sqlalchemy  # once, before the processes part
import hpo_plugins as hpo

def work(gate):
    os.read(gate, 1)  # all start at once
    tuner = hpo.Tuner(
        {"x": hpo.Categorical(list(range(10))), "y": hpo.Categorical(list("abcdefghij"))}, hpo.Minimize("loss"),
        strategy=hpo.Random(), max_trials=100, storage=sys.argv[1], checkpoint_dir=sys.argv[2], seed=0,
    )
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 5):
            trial.report(epoch, {"loss": trial["x"] + 1 / epoch})

gate, opener = os.pipe()
children = []
for _ in range(32):
    child = os.fork()
    if not child:
        os.close(opener)
        work(gate)
        sys.stdout.flush()
        os._exit(0)
    children.append(child)
os.close(opener)  # opens the gate: every read returns
print([os.waitpid(child, 0)[1] for child in children])
"""


def tuner_for(url, tmp_path, **arguments):
    arguments = {"max_trials": 8, "seed": 0, "checkpoint_dir": tmp_path} | arguments
    return hpo.Tuner(X, hpo.Minimize("loss"), storage=url, **arguments)


@pytest.mark.full
def test_32_processes_start_exactly_the_budget(postgres_url, tmp_path):
    """100 configurations, 100 trials: each number once, each configuration once, and no error on any screen."""
    command = [sys.executable, "-c", WORKERS, postgres_url, tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (ended.stderr, ended.stdout.strip()) == ("", str([0] * 32))
    trials = hpo.Tuner.load(postgres_url).trials
    assert [t.number for t in trials] == list(range(100))
    assert len({tuple(t.params.values()) for t in trials}) == 100
    assert {t.attempts for t in trials} == {1}
    assert {t.state for t in trials} == {hpo.TrialState.COMPLETED}
    assert {tuple(t.curve) for t in trials} == {(1, 2, 3, 4)}


def test_restarted_server_costs_a_pause_and_no_result(postgres_server, tmp_path, caplog):
    tuner = tuner_for(postgres_server.url, tmp_path, max_trials=6)
    restarted = []

    def end(how):
        postgres_server.end(how)
        restarted.append(threading.Timer(0.5, postgres_server.start))
        restarted[-1].start()

    for trial in tuner:
        for epoch in range(1, 10):
            if epoch == 5 and trial.number in (1, 3):  # between two reports
                end(signal.SIGKILL)
            assert not trial.report(epoch, {"loss": 1 / epoch})
            if epoch == 7 and trial.number == 3:  # orderly, and just before a save and an end
                end(signal.SIGINT)
                assert trial.save(lambda path: path.write_text("state"))
    for timer in restarted:
        timer.join()
    assert [(t.number, list(t.curve), t.attempts) for t in tuner.trials] == [
        (number, list(range(1, 10)), 1) for number in range(6)
    ]
    assert caplog.text.count("is back after") == 3
    assert tuner.done


def test_long_outage_ends_the_wait_and_keeps_the_reports(postgres_server, tmp_path, caplog, monkeypatch):
    tuner = tuner_for(postgres_server.url, tmp_path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    postgres_server.end(signal.SIGINT)
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.0)
    assert not trial.report(2, {"loss": 0.5})  # must not end somebody's training
    assert not trial.report(3, {"loss": 0.4})
    assert "epoch 2 is not written yet" in caplog.text
    with pytest.raises(hpo.StorageError, match="Check host and port in the URL, and that the server runs"):
        tuner.ask()
    postgres_server.start()
    trial.report(4, {"loss": 0.3})
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_acquisition_with_a_lost_answer_is_kept(postgres_url, tmp_path, monkeypatch):
    """The server wrote it and died before it said so; tried again, it is refused."""
    tuner = tuner_for(postgres_url, tmp_path)
    store = store_of(tuner)
    acquire = type(store).acquire

    def answer_lost(self, offer, expected):
        assert acquire(self, offer, expected)
        return acquire(self, offer, expected)

    monkeypatch.setattr(type(store), "acquire", answer_lost)
    assert [tuner.ask().number for _ in range(3)] == [0, 1, 2]
    assert [t.attempts for t in tuner.trials] == [1, 1, 1]


def test_leases_do_not_run_out_while_the_server_is_away(postgres_url, tmp_path):
    first, second = tuner_for(postgres_url, tmp_path), tuner_for(postgres_url, tmp_path)
    first.ask()
    row = history_of(second)[0].row
    expired = history_of(second).now - 1
    store_of(second).update(0, 1, lease_until=expired, worker="elsewhere/1/x")
    outage = store_of(second)._database.outage
    outage.wait(retry.Unreachable("away"), time.monotonic(), 300.0)
    outage.end()
    assert second.ask().number == 1  # its worker may be alive, and could not say so
    outage.ended -= 61
    assert second.ask().number == 0
    assert row.attempts == 1


def test_unreachable_server_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.0)
    with pytest.raises(hpo.StorageError, match="127.0.0.1.*[Rr]efused.*Check host and port in the URL, and that the"):
        tuner_for("postgresql+psycopg://user@127.0.0.1:1/none", tmp_path)


def test_missing_database_is_named_with_the_way_out(postgres, tmp_path):
    url = postgres.set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(hpo.StorageError, match='database "nowhere" does not exist. Make the database and the user fir'):
        tuner_for(url, tmp_path)


def test_wrong_password_is_named_and_not_shown(postgres_server, tmp_path):
    postgres_server.execute("CREATE ROLE someone LOGIN PASSWORD 'right'")
    rules = postgres_server.data / "pg_hba.conf"
    rules.write_text("local all someone scram-sha-256\n" + rules.read_text())
    postgres_server.execute("SELECT pg_reload_conf()")
    url = sa.make_url(postgres_server.url).set(username="someone", password="wrong")  # noqa: S106
    with pytest.raises(hpo.StorageError, match="password authentication failed .* Check user and password") as caught:
        tuner_for(url.render_as_string(hide_password=False), tmp_path)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(("version", "message"), [(0, "older version .*format 0; this one"), (99, "newer version")])
def test_other_schema_is_named_with_the_way_out(version, message, postgres_url, tmp_path):
    tuner = tuner_for(postgres_url, tmp_path)
    newer = schema.meta.update().values(value=str(version))
    store_of(tuner)._database.write(lambda connection: connection.execute(newer))
    with pytest.raises(hpo.StorageError, match=message):
        tuner_for(postgres_url, tmp_path)


def test_clock_of_the_worker_does_not_matter(postgres_url, tmp_path, monkeypatch):
    import time

    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 10 * 365 * 86400)  # this machine's is ten years behind
    tuner = tuner_for(postgres_url, tmp_path)
    tuner.ask().report(1, {"loss": 1.0})
    monkeypatch.setattr(time, "time", lambda: clock() + 10 * 365 * 86400)  # another's is ten years ahead
    other = tuner_for(postgres_url, tmp_path)
    assert other.ask().number == 1
    assert abs(other.trials[0].started_at - clock()) < 600


def test_report_that_waits_while_the_trial_is_taken_over_is_refused(postgres_url, tmp_path):
    """One statement takes the revision and appends the report: it must not see the trial as it was before the wait."""
    tuner = tuner_for(postgres_url, tmp_path)
    trial, answers = tuner.ask(), []
    trial.report(1, {"loss": 1.0})
    engine = sa.create_engine(postgres_url)
    with engine.connect() as other:
        other.execute(schema.studies.update().values(revision=schema.studies.c.revision + 1))
        other.execute(schema.trials.update().values(attempts=2))
        report = threading.Thread(target=lambda: answers.append(trial.report(2, {"loss": 0.5})))
        report.start()
        with engine.connect() as watcher:
            while not watcher.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one():
                watcher.rollback()
        other.commit()
        report.join()
        assert answers == [True]
        assert other.execute(sa.select(schema.reports.c.epoch)).scalars().all() == [1]
    engine.dispose()


OTHER = """
import pickle, sys
tuner = pickle.load(open(sys.argv[1], "rb"))
print(len(tuner.trials))
"""


def test_pickled_tuner_has_no_password_and_works_where_it_is_known(postgres, postgres_url, tmp_path):
    import os
    import pickle

    url = sa.make_url(postgres_url).set(password="hunter2").render_as_string(hide_password=False)  # noqa: S106 - trusted
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=1, storage=url, checkpoint_dir=tmp_path, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    data = pickle.dumps(tuner)
    assert b"hunter2" not in data
    (tmp_path / "tuner").write_bytes(data)
    assert len(pickle.loads(data).trials) == 1
    command = [sys.executable, "-c", OTHER, tmp_path / "tuner"]
    started = subprocess.run(command, capture_output=True, text=True, check=True)
    assert started.stdout == "1\n"
    strangers = {name: value for name, value in os.environ.items() if not name.startswith("HPO_PLUGINS_URL_")}
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env=strangers)
    assert "The password of postgresql+psycopg://postgres:***@" in refused.stderr
    assert "hunter2" not in refused.stderr


def test_log_is_created_by_the_first_actions_in_an_older_database(postgres_url):
    """Several processes may act first, at the same time."""
    storage = open_storage(postgres_url)
    storage.open("study", {})
    storage.database.write(lambda connection: connection.execute(sa.text("DROP TABLE hpo_actions")))
    studies = [open_storage(postgres_url).open("study", None) for _ in range(4)]
    assert [study.actions() for study in studies] == [[]] * 4
    note = ("note", None, {"note": "x"})
    works = [functools.partial(study.log, *note) for study in studies[:2]]
    works += [functools.partial(study.exclusively, functools.partial(study.log, *note)) for study in studies[2:]]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.number for row in studies[0].actions()] == [0, 1, 2, 3]
