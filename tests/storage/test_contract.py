"""What every storage must do; invariants between processes rest on these."""

import pickle
import threading
from dataclasses import replace

import pytest

import hpo_plugins as hpo
from hpo_plugins.records import Assignment, PointRow, Progress, ReportRow, TrialState
from hpo_plugins.storage import open_storage


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def place(request, tmp_path):
    target = {"memory": lambda: None, "sqlite": lambda: tmp_path / "study.db"}.get(
        request.param, lambda: request.getfixturevalue("postgres_url")
    )
    return open_storage(target())


@pytest.fixture
def store(place):
    return place.open("study", {"seed": 1})


def offer(number, attempt=1, worker="w", lease=60.0):
    return Assignment(number, {"x": number, "flag": True}, attempt, 0, worker, lease)


def report(number, epoch, value=0.5, attempt=1):
    return ReportRow(number, attempt, epoch, value, '{"loss": 0.5}', 1.5)


def test_study_is_made_once_and_found_again(place, store):
    assert place.open("study", {"seed": 2}).definition == {"seed": 1}
    assert place.names() == ["study"]
    with pytest.raises(hpo.StudyNotFound, match="'study'"):
        place.open("other", None)


def test_studies_are_apart(place, store):
    other = place.open("other", {})
    store.acquire(offer(0), 0)
    assert len(store.changes(0).trials) == 1
    assert len(other.changes(0).trials) == 0


def test_definition_can_be_replaced(place, store):
    store.define({"seed": 3})
    assert place.open("study", None).definition == {"seed": 3}


def test_changes_come_once(store):
    assert store.acquire(offer(0), 0)
    first = store.changes(0)
    assert [row.number for row in first.trials] == [0]
    assert first.trials[0].params == {"x": 0, "flag": True}
    assert first.trials[0].params["flag"] is True
    assert list(store.changes(first.revision).trials) == []
    revision = store.report(report(0, 1))
    later = store.changes(first.revision)
    assert later.revision == revision
    assert [row[:4] for row in later.reports] == [(0, 1, 1, 0.5)]
    assert list(later.trials) == []


def test_enqueued_configurations_are_numbered_and_come_once(place, store):
    store.enqueue({"x": 1})
    place.open("study", None).enqueue({"x": 2, "flag": True})
    first = store.changes(0)
    assert list(first.points) == [PointRow(0, {"x": 1}), PointRow(1, {"x": 2, "flag": True})]
    assert list(store.changes(first.revision).points) == []
    store.acquire(replace(offer(0), point=1), 0)
    assert store.changes(first.revision).trials[0].point == 1
    assert place.open("other", {}).changes(0).points == []


def test_acquisition_on_a_stale_view_is_refused(store):
    assert store.acquire(offer(0), expected=0)
    assert not store.acquire(offer(1), expected=0)
    assert store.acquire(offer(1), expected=1)
    assert store.changes(0).acquisitions == 2


def test_only_the_present_attempt_may_write(store):
    store.acquire(offer(0), 0)
    store.acquire(offer(0, attempt=2, worker="other"), 1)
    before = store.changes(0)
    assert store.report(report(0, 1, attempt=1)) is None
    assert not store.update(0, 1, rule="late")
    store.renew([(0, 1)], 1e9)
    after = store.changes(0)
    assert list(after.reports) == []
    assert after.trials[0].stop_reason is None
    assert after.trials[0].lease_until == before.trials[0].lease_until
    assert store.report(report(0, 1, attempt=2)) is not None


def test_ended_trial_takes_nothing_more(store):
    store.acquire(offer(0), 0)
    assert store.update(0, 1, state=TrialState.COMPLETED, ended_at=True)
    assert store.report(report(0, 1)) is None
    assert not store.update(0, 1, state=TrialState.FAILED)
    (row,) = store.changes(0).trials
    assert row.state is TrialState.COMPLETED
    assert row.ended_at >= row.started_at


def test_paused_trial_is_resumed(store):
    store.acquire(offer(0), 0)
    assert store.update(0, 1, state=TrialState.PAUSED, progress=Progress(start_epoch=3))
    assert store.report(report(0, 4)) is None
    assert store.acquire(offer(0, attempt=2), 1)
    (row,) = store.changes(0).trials
    assert (row.state, row.progress.start_epoch, row.attempts) == (TrialState.RUNNING, 3, 2)


def test_leases_are_renewed(store):
    store.acquire(offer(0, lease=1.0), 0)
    before = store.changes(0)
    assert before.now - 60 < before.trials[0].lease_until - 1.0 <= before.now
    store.renew([(0, 1)], 1000.0)
    assert store.changes(0).trials[0].lease_until > before.trials[0].lease_until + 900


def test_reports_keep_their_order_and_what_they_hold(store):
    store.acquire(offer(0), 0)
    rows = [report(0, epoch, value) for epoch, value in [(1, 1e300), (2, -1e-300), (2, 0.1), (3, None)]]
    for row in rows:
        store.report(row)
    assert [tuple(row) for row in store.changes(0).reports] == [tuple(row) for row in rows]


def test_threads_share_out_the_numbers(store):
    taken, lock = [], threading.Lock()

    def work():
        while (count := store.changes(0).acquisitions) < 40:
            if store.acquire(offer(count), count):
                with lock:
                    taken.append(count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))
    assert [row.number for row in sorted(store.changes(0).trials, key=lambda row: row.number)] == list(range(40))


def test_claim_is_given_to_the_first(place, store):
    assert [store.claim("end of trial 1", owner) for owner in "aba"] == ["a", "a", "a"]
    assert store.claim("end of trial 2", "b") == "b"
    assert place.open("other", {}).claim("end of trial 1", "b") == "b"
    assert store.claim("end of trial 1", "c", instead_of="b") == "a"
    assert store.claim("end of trial 1", "", instead_of="a") == ""
    assert store.claim("end of trial 1", "c") == "c"


def test_threads_share_out_the_claims(store):
    taken = []

    def work(owner):
        taken.extend(key for key in map(str, range(20)) if store.claim(key, owner) == owner)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(key) for key in range(20)]


def test_pickled_store_is_the_same_study(store):
    other = pickle.loads(pickle.dumps(store))
    store.acquire(offer(0), 0)
    assert other.report(report(0, 1)) is not None
    assert list(store.changes(0).reports) == [report(0, 1)]
    assert other.update(0, 1, rule="x")
    assert not other.acquire(offer(1), 0)
    other.renew([(0, 1)], 10.0)
    other.define({"seed": 9})
    assert other.changes(0).trials[0].stop_reason == "x"


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_large_studies_are_read_in_chunks(chunk, tmp_path, monkeypatch):
    from hpo_plugins.storage import sql_study

    monkeypatch.setattr(sql_study, "_CHUNK_SIZE", chunk)
    store = open_storage(tmp_path / "a.db").open("study", {})
    store.acquire(offer(0), 0)
    for epoch in range(1, 6):
        store.report(report(0, epoch))
    changes = store.changes(0)
    store.report(report(0, 6))  # after the view that the chunks belong to
    assert [row.epoch for row in changes.reports] == [1, 2, 3, 4, 5]
    assert [row.epoch for row in store.changes(changes.revision).reports] == [6]
