"""Servers and networks fail: nothing acknowledged is lost, and nothing is done twice."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import expire_lease, session_of

import hpo_plugins as hpo
from hpo_plugins.records import Progress, TrialState
from hpo_plugins.serve.app import MAX_WAIT, create_app
from hpo_plugins.serve.connection import Connection
from hpo_plugins.serve.server import bound, new_server, only_server
from hpo_plugins.storage import open_storage, retry
from hpo_plugins.storage.retry import Unreachable
from hpo_plugins.testing import ManagedStorageContract
from hpo_plugins.testing.storages import lease_of, offer, report

from .conftest import TOKEN, free_port, kill, serving, start_server


@pytest.fixture
def losing_answers(monkeypatch):
    """Lose the first answer to everything that changes a study; returns the routes that were asked."""
    asked, exchange = [], Connection.exchange

    def lossy(self, path, *arguments):
        answer = exchange(self, path, *arguments)
        asked.append(path)
        if path in ("write", "storage/rename", "storage/copy", "storage/delete") and asked.count(path) % 2:
            raise Unreachable("the answer was lost")
        return answer

    monkeypatch.setattr(retry, "_MIN_PAUSE", 1e-4)
    monkeypatch.setattr(Connection, "exchange", lossy)
    return asked


@pytest.fixture
def reborn_url(tmp_path):
    """The URL of a server that is another process, as it were, for each request."""

    async def app(scope, receive, send):
        await create_app(open_storage(tmp_path / "served.db"), TOKEN)(scope, receive, send)

    listening, listener = threading.Event(), bound("127.0.0.1", 0)
    server = new_server(app, listening=listening.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert listening.wait(30)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.mark.usefixtures("losing_answers")
class TestHttpWithLostAnswers(ManagedStorageContract):
    """Every write arrives twice, and has effect once."""

    @pytest.fixture
    def storage(self, url):
        return open_storage(url)


@pytest.mark.usefixtures("losing_answers")
class TestHttpWithRestarts(ManagedStorageContract):
    """Every write arrives twice, at two processes of the server, and has effect once."""

    @pytest.fixture
    def storage(self, reborn_url):
        return open_storage(reborn_url)


@pytest.mark.parametrize("kind", ["url", "reborn_url"])
def test_every_write_has_effect_once(kind, request, losing_answers):
    study = open_storage(request.getfixturevalue(kind)).open("s", {})
    first = study.acquire(offer(0), 0)
    assert first is not None
    assert (first.row.number, first.row.attempts) == (0, 1)
    study.enqueue({"x": 1})
    before = study.changes(0).revision
    assert [study.report(report(0, epoch)) for epoch in (1, 2, 3)] == [before + 1, before + 2, before + 3]
    paused = study.update(0, 1, state=TrialState.PAUSED, progress=Progress(0, 3, "kept"))
    assert paused is not None
    assert paused.row.progress.checkpoint == "kept"
    assert study.update(0, 1, state=TrialState.COMPLETED, ended_at=True).row.state is TrialState.COMPLETED
    assert study.report(report(0, 4)) is None
    assert study.drop_checkpoint(0, "kept").row.progress.checkpoint is None
    assert study.claim("task", "me") == "me"
    assert study.claim("task", "", "me") == ""
    changes = study.changes(0)
    assert [row.epoch for row in changes.reports] == [1, 2, 3]
    assert len(changes.points) == 1
    assert losing_answers.count("write") == 2 * 11


def test_write_that_was_given_up_is_continued_by_the_next_one(url, monkeypatch):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.0)
    study, exchange = open_storage(url).open("s", {}), Connection.exchange
    study.acquire(offer(0), 0)

    def away(self, *arguments):
        exchange(self, *arguments)
        raise Unreachable("the answer was lost")

    with monkeypatch.context() as outage:
        outage.setattr(Connection, "exchange", away)
        with pytest.raises(Unreachable, match="was lost"):
            study.update(0, 1, state=TrialState.COMPLETED, ended_at=True)
    assert study.claim("another write", "me") == "me"
    # Done for the first time, it would find that the trial has ended.
    assert study.update(0, 1, state=TrialState.COMPLETED, ended_at=True).row.state is TrialState.COMPLETED
    assert study.update(0, 1, state=TrialState.COMPLETED, ended_at=True) is None


def test_renewal_that_was_given_up_is_not_taken_for_a_later_one(url, monkeypatch):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.0)
    study, exchange = open_storage(url).open("s", {}), Connection.exchange
    study.acquire(offer(0), 0)

    def away(self, *arguments):
        raise Unreachable("the server is away")

    with monkeypatch.context() as outage:
        outage.setattr(Connection, "exchange", away)
        with pytest.raises(Unreachable, match="is away"):
            study.renew([(0, 1)], 1e6)
    assert exchange is Connection.exchange
    study.claim("another write", "me")
    first = lease_of(study, 0)
    study.renew([(0, 1)], 1e6)
    assert lease_of(study, 0) > first


def test_writes_of_many_threads_each_get_their_own_answer(url, losing_answers):
    study = open_storage(url).open("s", {})
    study.acquire(offer(0), 0)
    barrier, found = threading.Barrier(8), {}

    def work(thread):
        barrier.wait()
        for index in range(10):
            key = f"{thread}-{index}"
            found[key] = study.claim(key, f"owner of {key}")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {key: f"owner of {key}" for key in found}
    assert len(found) == 80


def test_server_that_is_killed_and_restarted_loses_nothing(tmp_path):
    port = free_port()
    server = start_server(tmp_path / "a.db", "--port", port)
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=6,
        storage=f"http://127.0.0.1:{port}", name="s", seed=0,
    )  # fmt: skip
    acknowledged, restarts = {}, []
    with ThreadPoolExecutor() as threads:
        for trial in tuner:
            for epoch in range(1, 5):
                if epoch == 2 and trial.number % 2:
                    kill(server if not restarts else restarts[-1].result())
                    restarts.append(threads.submit(start_server, tmp_path / "a.db", "--port", port))
                trial.report(epoch, {"loss": trial["x"] / epoch})
                acknowledged[trial.number, epoch] = trial["x"] / epoch
        kill(restarts[-1].result())
    assert len(restarts) == 3
    stored = hpo.Tuner.load(tmp_path / "a.db")
    assert {(t.number, epoch): value for t in stored.trials for epoch, value in t.curve.items()} == acknowledged
    assert [t.attempts for t in stored.trials] == [1] * 6
    assert {t.state for t in stored.trials} == {hpo.TrialState.COMPLETED}


def test_restart_of_the_server_gives_every_worker_the_time_to_renew(tmp_path):
    with serving(tmp_path / "a.db") as url:
        store = open_storage(url).open("s", {})
        store.changes(0)
        assert store.reachable_since > 0  # an outage ended when this server was started


def test_cut_off_worker_stops_at_its_next_report(url, caplog):
    def tuner():
        return hpo.Tuner(
            {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=2, storage=url,
            name="s", seed=0,
        )  # fmt: skip

    first, second = tuner(), tuner()
    lost = first.ask()
    assert not lost.report(1, {"loss": 1.0})
    expire_lease(first, 0, worker="elsewhere/1/x")
    session_of(second).store._connection._started = -float("inf")  # the server is up for longer than a lease
    session_of(second).store._connection._check = lambda *_: None
    taken = second.ask()
    assert taken.number == 0
    assert lost.report(2, {"loss": 2.0})
    assert "taken over by another worker" in caplog.text
    taken.report(1, {"loss": 3.0})
    taken.end()
    assert second.trials[0].curve == {1: 3.0}


def test_second_server_of_a_storage_refuses(tmp_path):
    first, second = open_storage(tmp_path / "a.db"), open_storage(tmp_path / "a.db")
    with (
        only_server(first),
        pytest.raises(hpo.StorageError, match="is served by another process already"),
        only_server(second),
    ):
        pass
    with only_server(second):
        pass


def test_second_server_of_a_database_refuses(postgres_url):
    first, second = open_storage(postgres_url), open_storage(postgres_url)
    with (
        only_server(first),
        pytest.raises(hpo.StorageError, match="is served by another process already"),
        only_server(second),
    ):
        pass
    with only_server(second):
        pass


@pytest.mark.process
@pytest.mark.parametrize("hours", [-30, 30])
def test_clock_of_a_worker_that_is_off_by_hours_does_not_matter(hours, tmp_path, monkeypatch):
    server = start_server(tmp_path / "served.db", "--port", port := free_port())
    try:
        first = hpo.Tuner(
            {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, storage=f"http://127.0.0.1:{port}"
        )
        first.ask().report(1, {"loss": 1.0})
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + hours * 3600)
        other = hpo.Tuner.load(f"http://127.0.0.1:{port}")
        assert other.ask().number == 1  # the first trial's lease has not expired
        assert abs(other.trials[1].started_at - clock()) < 600
        assert first.ask().number == 2
        assert [trial.attempts for trial in first.trials] == [1, 1, 1]
    finally:
        kill(server)


def test_study_that_was_deleted_under_its_clients_is_named(url):
    storage = open_storage(url)
    study = storage.open("s", {})
    study.acquire(offer(0), 0)
    storage.delete("s")
    for call in (lambda: study.changes(0), lambda: study.report(report(0, 1)), lambda: study.claim("a", "b")):
        with pytest.raises(hpo.StudyNotFound, match="'s' was deleted"):
            call()
    other = storage.open("s", {"seed": 2})  # a new study of that name is another one
    with pytest.raises(hpo.StudyNotFound, match="'s' was deleted"):
        study.enqueue({"x": 1})
    assert list(other.changes(0).points) == []


def test_copies_and_renamed_studies_are_told_apart_by_a_new_server(tmp_path):
    with serving(tmp_path / "a.db") as url:
        studies = open_storage(url)
        study = studies.open("s", {})
    direct = open_storage(tmp_path / "a.db")  # while no server runs
    direct.copy("s", direct, "copy")
    direct.rename("s", "renamed")
    direct.copy("copy", direct, "s")
    with serving(tmp_path / "a.db", port=int(url.rpartition(":")[2])):
        study.enqueue({"x": 1})
        found = {name: len(studies.open(name, None).changes(0).points) for name in studies.names()}
        assert sum(found.values()) == 1


def test_write_brings_what_others_have_written(url, monkeypatch):
    storage, asked, exchange = open_storage(url), [], Connection.exchange
    study, other = storage.open("s", {}), storage.open("s", None)
    study.acquire(offer(0), 0)
    known = study.changes(0).revision
    other.enqueue({"x": 1})
    monkeypatch.setattr(
        Connection, "exchange", lambda self, path, *a: (asked.append(path), exchange(self, path, *a))[1]
    )
    revision = study.report(report(0, 1))
    changes = study.changes(known)
    assert asked == ["write"]
    assert (changes.revision, len(changes.points), [row.epoch for row in changes.reports]) == (revision, 1, [1])
    assert list(study.changes(known).points) == list(changes.points)  # asked again, it is read again
    assert asked == ["write", "changes"]
    assert study.report(report(0, 2)) == revision + 1
    other.enqueue({"x": 2})
    assert len(study.changes(revision).points) == 1  # what others have written after one's own write


def test_what_nobody_asks_for_is_not_sent_again(url):
    storage = open_storage(url)
    study, other = storage.open("s", {}), storage.open("s", None)
    study.acquire(offer(0), 0)
    known = study.changes(0).revision
    other.enqueue({"x": 1})
    for epoch in range(1, 5):
        study.report(report(0, epoch))
    assert study._channel.known == -1
    assert [row.epoch for row in study.changes(known).reports] == [1, 2, 3, 4]
    assert study._channel.known == known + 5


def test_waiting_for_changes_ends_with_the_next_write(url):
    storage = open_storage(url)
    study = storage.open("s", {})
    known, seconds = study.changes(0).revision, []

    def wait():
        began = time.monotonic()
        study.wait_for_changes(known, 600.0)
        seconds.append(time.monotonic() - began)

    waiting = threading.Thread(target=wait)
    waiting.start()
    storage.open("s", None).enqueue({"x": 1})
    waiting.join()
    assert seconds[0] < MAX_WAIT
    wait()  # there is something already
    assert seconds[1] < MAX_WAIT


def test_workers_of_one_machine_reach_the_server(url):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=4, storage=url, name="s"
    )
    tuner.run(_train, workers=2)
    assert sorted(t.number for t in tuner.trials) == [0, 1, 2, 3]
    assert all(len(t.curve) == 2 for t in tuner.trials)


def _train(trial):
    for epoch in (1, 2):
        trial.report(epoch, {"loss": trial["x"]})


def test_forked_child_has_a_connection_of_its_own(url):
    storage = open_storage(url)
    study = storage.open("s", {})
    study.acquire(offer(0), 0)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if study.report(report(0, 1)) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert study.report(report(0, 2))
    assert [row.epoch for row in study.changes(0).reports] == [1, 2]


def test_interrupt_ends_the_command(tmp_path):
    server = start_server(tmp_path / "a.db", "--port", "0")
    server.send_signal(signal.SIGINT)
    assert server.wait(60) in (0, 130)
    server.stdout.close()
