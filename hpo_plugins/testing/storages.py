"""Laws of every storage; the invariants between processes rest on them."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo_plugins.errors import StorageError, StudyNotFound
from hpo_plugins.records import Assignment, PointRow, Progress, ReportRow, TrialState
from hpo_plugins.storage import ManagedStorage, Storage, StudyStore


def offer(number: int, attempt: int = 1, worker: str = "w", lease: float = 60.0) -> Assignment:
    """Return an assignment to write."""
    return Assignment(number, {"x": number, "flag": True}, attempt, 0, worker, lease)


def lease_of(study: StudyStore, number: int) -> float:
    """Return until when a trial's lease lasts."""
    lease = next(row.lease_until for row in study.changes(0).trials if row.number == number)
    assert lease is not None
    return lease


def report(number: int, epoch: int, value: float | None = 0.5, attempt: int = 1) -> ReportRow:
    """Return a report to write."""
    return ReportRow(number, attempt, epoch, value, '{"loss": 0.5}', 1.5)


class StorageContract:
    """The laws of a storage.

    A subclass defines ``make``, or overrides the fixture ``storage`` if it needs fixtures of its own.
    """

    def make(self, tmp_path: Path) -> Storage:
        """Return a new, empty storage.

        Args:
            tmp_path: An empty folder.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make(self, tmp_path), which returns a storage.")

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        """The storage."""
        return self.make(tmp_path)

    @pytest.fixture
    def study(self, storage: Storage) -> StudyStore:
        """A study in it."""
        return storage.open("study", {"seed": 1})

    def test_study_is_made_once_and_found_again(self, storage: Storage, study: StudyStore) -> None:
        """A study keeps the definition that it was made with, and a name that is unknown is an error."""
        assert storage.open("study", {"seed": 2}).definition == {"seed": 1}
        assert storage.names() == ["study"]
        with pytest.raises(StudyNotFound, match="'study'"):
            storage.open("other", None)

    def test_studies_are_apart(self, storage: Storage, study: StudyStore) -> None:
        """Studies of one storage share no trials."""
        other = storage.open("other", {})
        study.acquire(offer(0), 0)
        assert len(study.changes(0).trials) == 1
        assert len(other.changes(0).trials) == 0

    def test_definition_can_be_replaced(self, storage: Storage, study: StudyStore) -> None:
        """A definition that was replaced is read back."""
        study.define({"seed": 3})
        assert storage.open("study", None).definition == {"seed": 3}

    def test_changes_come_once(self, study: StudyStore) -> None:
        """``changes(since)`` returns the writes after ``since``, and none twice."""
        assert study.acquire(offer(0), 0)
        first = study.changes(0)
        assert [row.number for row in first.trials] == [0]
        assert first.trials[0].params == {"x": 0, "flag": True}
        assert first.trials[0].params["flag"] is True
        assert list(study.changes(first.revision).trials) == []
        revision = study.report(report(0, 1))
        later = study.changes(first.revision)
        assert later.revision == revision
        assert [row[:4] for row in later.reports] == [(0, 1, 1, 0.5)]
        assert list(later.trials) == []

    def test_enqueued_configurations_are_numbered_and_come_once(self, storage: Storage, study: StudyStore) -> None:
        """Enqueued configurations are numbered from 0 over all processes."""
        study.enqueue({"x": 1})
        storage.open("study", None).enqueue({"x": 2, "flag": True})
        first = study.changes(0)
        assert list(first.points) == [PointRow(0, {"x": 1}), PointRow(1, {"x": 2, "flag": True})]
        assert list(study.changes(first.revision).points) == []
        study.acquire(replace(offer(0), point=1), 0)
        assert study.changes(first.revision).trials[0].point == 1
        assert storage.open("other", {}).changes(0).points == []

    def test_acquisition_on_a_stale_view_is_refused(self, study: StudyStore) -> None:
        """Rule 1: an acquisition that was decided on another number of acquisitions writes nothing."""
        assert study.acquire(offer(0), expected=0)
        assert not study.acquire(offer(1), expected=0)
        assert study.acquire(offer(1), expected=1)
        assert study.changes(0).acquisitions == 2

    def test_only_the_present_attempt_may_write(self, study: StudyStore) -> None:
        """Rule 2: an attempt that was replaced writes nothing."""
        study.acquire(offer(0), 0)
        study.acquire(offer(0, attempt=2, worker="other"), 1)
        before = study.changes(0)
        assert study.report(report(0, 1, attempt=1)) is None
        assert not study.update(0, 1, rule="late")
        study.renew([(0, 1)], 1e9)
        after = study.changes(0)
        assert list(after.reports) == []
        assert after.trials[0].stop_reason is None
        assert after.trials[0].lease_until == before.trials[0].lease_until
        assert study.report(report(0, 1, attempt=2)) is not None

    def test_ended_trial_takes_nothing_more(self, study: StudyStore) -> None:
        """Rule 2: a trial that has ended takes neither reports nor updates."""
        study.acquire(offer(0), 0)
        assert study.update(0, 1, state=TrialState.COMPLETED, ended_at=True)
        assert study.report(report(0, 1)) is None
        assert not study.update(0, 1, state=TrialState.FAILED)
        (row,) = study.changes(0).trials
        assert row.state is TrialState.COMPLETED
        assert row.ended_at is not None
        assert row.ended_at >= row.started_at

    def test_paused_trial_is_resumed(self, study: StudyStore) -> None:
        """A paused trial takes no reports; the next attempt begins where it was saved."""
        study.acquire(offer(0), 0)
        assert study.update(0, 1, state=TrialState.PAUSED, progress=Progress(start_epoch=3))
        assert study.report(report(0, 4)) is None
        assert study.acquire(offer(0, attempt=2), 1)
        (row,) = study.changes(0).trials
        assert (row.state, row.progress.start_epoch, row.attempts) == (TrialState.RUNNING, 3, 2)

    def test_leases_are_renewed(self, study: StudyStore) -> None:
        """Leases are counted by the storage's clock."""
        study.acquire(offer(0, lease=1.0), 0)
        now, before = study.changes(0).now, lease_of(study, 0)
        assert now - 60 < before - 1.0 <= now
        study.renew([(0, 1)], 1000.0)
        assert lease_of(study, 0) > before + 900

    def test_reports_keep_their_order_and_what_they_hold(self, study: StudyStore) -> None:
        """Reports come in the order in which they were written, with every bit of their values."""
        study.acquire(offer(0), 0)
        rows = [report(0, epoch, value) for epoch, value in [(1, 1e300), (2, -1e-300), (2, 0.1), (3, None)]]
        for row in rows:
            study.report(row)
        assert [tuple(row) for row in study.changes(0).reports] == [tuple(row) for row in rows]

    def test_threads_share_out_the_numbers(self, study: StudyStore) -> None:
        """Threads that acquire at once take each number once."""
        taken: list[int] = []
        lock = threading.Lock()

        def work() -> None:
            while (count := study.changes(0).acquisitions) < 40:
                if study.acquire(offer(count), count):
                    with lock:
                        taken.append(count)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(40))
        assert [row.number for row in sorted(study.changes(0).trials, key=lambda row: row.number)] == list(range(40))

    def test_claim_is_given_to_the_first(self, storage: Storage, study: StudyStore) -> None:
        """A claim belongs to the first who asks, until it is passed on."""
        assert [study.claim("end of trial 1", owner) for owner in "aba"] == ["a", "a", "a"]
        assert study.claim("end of trial 2", "b") == "b"
        assert storage.open("other", {}).claim("end of trial 1", "b") == "b"
        assert study.claim("end of trial 1", "c", instead_of="b") == "a"
        assert study.claim("end of trial 1", "", instead_of="a") == ""
        assert study.claim("end of trial 1", "c") == "c"

    def test_threads_share_out_the_claims(self, study: StudyStore) -> None:
        """Threads that claim at once share out the keys."""
        taken: list[str] = []

        def work(owner: str) -> None:
            taken.extend(key for key in map(str, range(20)) if study.claim(key, owner) == owner)

        threads = [threading.Thread(target=work, args=(owner,)) for owner in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken, key=int) == [str(key) for key in range(20)]

    def test_pickled_store_is_the_same_study(self, study: StudyStore) -> None:
        """A study that was pickled reads and writes the same data."""
        other = pickle.loads(pickle.dumps(study))
        study.acquire(offer(0), 0)
        assert other.report(report(0, 1)) is not None
        assert list(study.changes(0).reports) == [report(0, 1)]
        assert other.update(0, 1, rule="x")
        assert not other.acquire(offer(1), 0)
        other.renew([(0, 1)], 10.0)
        other.define({"seed": 9})
        assert other.changes(0).trials[0].stop_reason == "x"

    def test_new_attempt_clears_the_decision(self, study: StudyStore) -> None:
        """A new attempt takes over neither the decision nor the phases of the attempt before."""
        study.acquire(offer(0), 0)
        study.update(0, 1, decision=TrialState.PAUSED, rule="rung", detail="5 of 9", phase=2)
        study.update(0, 1, state=TrialState.PAUSED)
        study.acquire(replace(offer(0, attempt=2), failed_attempts=1), 1)
        (row,) = study.changes(0).trials
        assert (row.decision, row.rule, row.detail, row.phase, row.failed_attempts) == (None, None, None, 0, 1)

    def test_every_field_of_a_trial_is_kept(self, study: StudyStore) -> None:
        """An update replaces the fields that it names, and no other one."""
        written = study.acquire(offer(0), 0)
        assert written is not None
        fields: dict[str, Any] = {
            "decision": TrialState.STOPPED,
            "rule": "a rule",
            "detail": "what it found",
            "error": "ValueError: x",
            "folds": 3,
            "phase": 2,
            "progress": Progress(1, 4, "trial-0/a", "trial-0/b", 3, (0, 2)),
        }
        for name, value in fields.items():
            updated = study.update(0, 1, **{name: value})
            assert updated is not None
            assert updated.row == replace(written.row, **{name: value})
            written = updated
        assert list(study.changes(0).trials) == [written.row]
        assert study.changes(0).revision == written.revision

    def test_pause_gives_way_to_an_end(self, study: StudyStore) -> None:
        """An update that pauses a trial whose end was decided writes nothing; a new attempt may pause again."""
        paused = {"decision": TrialState.PAUSED}
        study.acquire(offer(0), 0)
        assert study.update(0, 1, **paused)
        assert study.update(0, 1, decision=TrialState.STOPPED, rule="a person")
        assert study.update(0, 1, **paused) is None
        assert study.update(0, 1, state=TrialState.PAUSED, decision=None) is None
        (row,) = study.changes(0).trials
        assert (row.state, row.decision, row.rule) == (TrialState.RUNNING, TrialState.STOPPED, "a person")
        assert study.update(0, 1, phase=1)
        study.acquire(offer(0, attempt=2), 1)
        assert study.update(0, 2, **paused)
        assert study.update(0, 2, state=TrialState.PAUSED, decision=None)

    def test_actions_are_logged_in_order(self, storage: Storage, study: StudyStore) -> None:
        """The log is numbered over all processes, has the storage's time, and moves the revision, but no trial."""
        study.acquire(offer(0), 0)
        before = study.changes(0)
        assert study.actions() == []
        study.log("stop", 0, {"note": "hopeless \u2603"})
        storage.open("study", None).log("tags", None, {"tags": ["a", "b"]})
        pickle.loads(pickle.dumps(study)).log("note", 0, {"note": ""})
        rows = study.actions()
        assert [(row.number, row.action, row.trial, row.details) for row in rows] == [
            (0, "stop", 0, {"note": "hopeless \u2603"}),
            (1, "tags", None, {"tags": ["a", "b"]}),
            (2, "note", 0, {"note": ""}),
        ]
        after = study.changes(before.revision)
        assert after.revision > before.revision
        assert (list(after.trials), list(after.reports), list(after.points)) == ([], [], [])
        assert all(before.now <= row.at <= after.now for row in rows)
        assert study.actions(since=2) == rows[2:]
        assert storage.open("other", {}).actions() == []

    def test_checkpoint_is_dropped_while_it_is_the_same(self, study: StudyStore) -> None:
        """Another process may have saved meanwhile: its checkpoint stays."""
        study.acquire(offer(0), 0)
        study.update(0, 1, progress=Progress(0, 4, "new", "best", 3), state=TrialState.COMPLETED, ended_at=True)
        assert study.drop_checkpoint(0, "old") is None
        dropped = study.drop_checkpoint(0, "new")
        assert dropped is not None
        assert dropped.row.progress == Progress(0, 4)
        assert study.changes(0).trials[0].progress == Progress(0, 4)

    def test_exclusive_work_is_done(self, study: StudyStore) -> None:
        """Its result is returned, its writes are there, and its error propagates."""

        def work() -> bool:
            return bool(study.acquire(offer(0), 0))

        assert study.exclusively(work)
        assert study.changes(0).acquisitions == 1
        with pytest.raises(ZeroDivisionError, match="division"):
            study.exclusively(lambda: 1 // 0)
        assert study.acquire(offer(1), 1)

    def test_runtime_and_clock_only_grow(self, study: StudyStore) -> None:
        """Nothing was worked on before the first trial."""
        assert study.changes(0).runtime == 0.0
        study.acquire(offer(0), 0)
        before = study.changes(0)
        study.report(report(0, 1))
        after = study.changes(0)
        assert 0.0 <= before.runtime <= after.runtime
        assert before.now <= after.now

    def test_checkpoints_of_studies_are_apart(self, storage: Storage) -> None:
        """Each study has a folder of its own, also where names differ in characters that files cannot have."""
        names = ["study", "other", "a/b", "a_b", ".."]
        roots = {str(Path(storage.checkpoint_root(name)).absolute()) for name in names}
        assert len(roots) == len(names)
        assert storage.checkpoint_root("study") == storage.checkpoint_root("study")


class ManagedStorageContract(StorageContract):
    """The laws of a storage whose studies can be counted, renamed, copied and deleted."""

    @pytest.fixture
    def managed(self, storage: Storage, study: StudyStore) -> ManagedStorage:
        """The storage; its study has a trial that runs, one that has ended, a report and a point."""
        assert isinstance(storage, ManagedStorage)
        study.acquire(offer(0), 0)
        study.acquire(offer(1), 1)
        study.report(report(0, 1))
        study.enqueue({"x": 7})
        study.log("note", 0, {"note": "kept"})
        study.update(1, 1, state=TrialState.COMPLETED, ended_at=True)
        return storage

    def test_trials_are_counted_by_their_state(self, managed: ManagedStorage) -> None:
        """States that no trial has are left out."""
        assert managed.counts("study") == {"running": 1, "completed": 1}
        managed.open("empty", {})
        assert managed.counts("empty") == {}

    def test_renamed_study_is_the_same(self, managed: ManagedStorage, study: StudyStore) -> None:
        """A process that works on the study when it is renamed continues to work on it."""
        before = study.changes(0)
        managed.rename("study", "renamed")
        assert managed.names() == ["renamed"]
        after = managed.open("renamed", None)
        assert list(after.changes(0).trials) == list(before.trials)
        assert study.report(report(0, 2)) is not None
        assert [row.epoch for row in after.changes(0).reports] == [1, 2]

    def test_copy_has_everything_but_the_leases(self, managed: ManagedStorage, study: StudyStore) -> None:
        """The copy and the original are independent."""
        managed.copy("study", managed, "copy")
        copied, original = managed.open("copy", None), study.changes(0)
        changes = copied.changes(0)
        assert copied.definition == study.definition
        assert changes.acquisitions == original.acquisitions
        assert list(changes.reports) == list(original.reports)
        assert list(changes.points) == list(original.points)
        assert copied.actions() == study.actions()
        assert list(changes.trials) == [replace(row, lease_until=None) for row in original.trials]
        assert study.report(report(0, 2)) is not None
        assert [row.epoch for row in copied.changes(0).reports] == [1]

    def test_deleted_study_is_gone(self, managed: ManagedStorage) -> None:
        """A new study of its name begins empty."""
        managed.open("other", {})
        managed.delete("study")
        assert managed.names() == ["other"]
        changes = managed.open("study", {"seed": 2}).changes(0)
        assert (list(changes.trials), list(changes.reports), list(changes.points)) == ([], [], [])
        assert managed.open("study", None).actions() == []

    def test_names_are_checked(self, managed: ManagedStorage) -> None:
        """An unknown study, and a name that is taken, are errors that change nothing."""
        managed.open("other", {"seed": 3})
        for call in (managed.counts, managed.delete):
            with pytest.raises(StudyNotFound, match="'nobody'"):
                call("nobody")
        with pytest.raises(StudyNotFound, match="'nobody'"):
            managed.rename("nobody", "new")
        with pytest.raises(StorageError, match="'other'"):
            managed.rename("study", "other")
        with pytest.raises(StorageError, match="'other'"):
            managed.copy("study", managed, "other")
        assert sorted(managed.names()) == ["other", "study"]
        assert managed.open("other", None).definition == {"seed": 3}
