"""When a search has found enough, used up its time, or is as wide as it may be."""

import math
import threading

import pytest
from support import release, session_of

import hpo_plugins as hpo
from hpo_plugins.history import History
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space
from hpo_plugins.storage import open_storage
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.study.stored import from_json
from hpo_plugins.study.termination import Criterion

X = {"x": hpo.Continuous(0, 1)}
LOSS = hpo.Minimize("loss")


def history(values, objective=LOSS, states=None, ended_at=None):
    """A history of ended trials of one epoch each; None for a value is a failed trial."""
    space = Space(X)
    made = History(space, objective)
    rows, reports = [], []
    for number, value in enumerate(values):
        state = TrialState.FAILED if value is None else (states or {}).get(number, TrialState.COMPLETED)
        end = None if not state.is_final else float((ended_at or range(len(values)))[number])
        rows.append(TrialRow(number, {"x": 0.5}, state, 1, 0, "w", 0.0, 0.0, ended_at=end))
        if value is not None:
            reports.append(ReportRow(number, 1, 1, value, {}, 0.0))
    made.apply(Changes(1, len(rows), 0.0, rows, reports))
    return made


@pytest.mark.parametrize(
    ("objective", "values", "met"),
    [
        (LOSS, [0.5, 0.2], False),
        (LOSS, [0.5, 0.1, 0.3], True),
        (LOSS, [0.5, None], False),
        (hpo.Maximize("auc"), [0.5, 0.1], True),
        (hpo.Maximize("auc"), [0.05, 0.09], False),
        (LOSS, [], False),
    ],
)
def test_target_is_reached_by_an_equal_or_better_value(objective, values, met):
    reason = hpo.TargetReached(0.1).met(history(values, objective))
    assert (reason is not None) is met
    assert not met or reason.startswith("target reached: trial ")


@pytest.mark.parametrize(("at", "met"), [("best", True), ("last", False)])
def test_target_waits_for_the_end_where_the_last_value_counts(at, met):
    running = history([0.1], hpo.Minimize("loss", at=at), states={0: TrialState.RUNNING})
    assert (hpo.TargetReached(0.2).met(running) is not None) is met


@pytest.mark.parametrize(
    ("values", "met"),
    [
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 0.995, 1.0], True),  # less than 1 %
        ([1.0, 1.0, 0.98, 1.0], False),
        ([1.0, 0.995, 0.985, 1.0], False),  # small steps add up
        ([1.0, 1.0, None, None, None], False),
        ([-1.0, -1.0, -1.02, -1.0], False),
        ([0.0, 0.0, -1e-9, 0.0], False),
        ([], False),
    ],
)
def test_three_trials_without_one_percent(values, met):
    reason = hpo.NotImproving(3).met(history(values))
    assert (reason is not None) is met
    assert not met or reason.startswith("not improving: none of the last 3 trials")


def test_trials_count_in_the_order_of_their_ends():
    values = [1.0, 2.0, 2.0, 0.5]
    assert hpo.NotImproving(2).met(history(values)) is None
    assert hpo.NotImproving(2).met(history(values, ended_at=[1, 2, 3, 0])) is not None


def test_mirrored_objectives_end_alike():
    values = [3.0, 2.0, 2.5, 1.999, 2.1]
    for trials in range(1, 5):
        up = hpo.NotImproving(trials).met(history([-v for v in values], hpo.Maximize("m")))
        assert up == hpo.NotImproving(trials).met(history(values))


@pytest.mark.parametrize(
    ("before", "since", "met"), [(1, 19, False), (1, 20, True), (30, 20, False), (30, 29, False), (30, 30, True)]
)
def test_search_has_converged_when_half_of_it_brought_nothing(before, since, met):
    values = [float(before - number) for number in range(before)] + [1.0] * since
    reason = hpo.Converged().met(history(values))
    assert (reason is not None) is met
    assert not met or reason == f"converged: the last improvement of 1% came with result {before} of {before + since}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.TargetReached(math.nan), "value must be a finite number"),
        (lambda: hpo.TargetReached("0.1"), "value must be a finite number, but got value='0.1'"),
        (lambda: hpo.NotImproving(0), "trials must be a whole number of at least 1"),
        (lambda: hpo.NotImproving(3, min_delta=-1), "min_delta must be at least 0, but got min_delta=-1"),
        (lambda: hpo.Converged(0), "min_trials must be a whole number of at least 1"),
        (lambda: hpo.Tuner(X, LOSS, stop_when=hpo.Converged()), r"stop_when must be a list of TargetReached\(value\)"),
        (lambda: hpo.Tuner(X, LOSS, stop_when=[0.1]), r"stop_when must be a list .* got stop_when=\[0.1\]"),
        (lambda: hpo.Tuner(X, LOSS, max_runtime=0), "max_runtime must be > 0 seconds, but got max_runtime=0"),
        (lambda: hpo.Tuner(X, LOSS, max_runtime="1h"), "max_runtime must be a finite number"),
        (lambda: hpo.Tuner(X, LOSS, max_parallel=0), "max_parallel must be a whole number of at least 1"),
        (
            lambda: from_json({"name": "Mood"}, Criterion),
            "criterion 'Mood' is not known .* it knows ClearlyBest, Converged, NotImpr",
        ),
    ],
)
def test_bad_limits_are_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


# In a search.


def test_any_criterion_ends_the_search_and_says_so(storage):
    stop_when = [hpo.TargetReached(0.15), hpo.NotImproving(5)]
    tuner = hpo.Tuner(X, LOSS, max_trials=50, stop_when=stop_when, storage=storage, seed=0)
    for trial in tuner:
        trial.report(1, {"loss": 1.0 - 0.1 * trial.number})
    assert len(tuner.trials) == 10
    assert tuner.done
    assert tuner.stop_reason == "target reached: trial 9 has 0.1, and the target is 0.15"
    assert "complete (target reached" in tuner.summary()


def test_criteria_are_stored_and_may_change(tmp_path):
    def make(**arguments):
        return hpo.Tuner(X, LOSS, storage=tmp_path / "a.db", seed=0, **arguments)

    for trial in make(stop_when=[hpo.NotImproving(3)]):
        trial.report(1, {"loss": 1.0})
    loaded = hpo.Tuner.load(tmp_path / "a.db")
    assert loaded.study.stop_when == (hpo.NotImproving(3),)
    assert loaded.stop_reason.startswith("not improving")
    for trial in make(stop_when=[hpo.NotImproving(5), hpo.Converged()], max_runtime=1e6, max_parallel=2):
        trial.report(1, {"loss": 1.0})
    assert len(hpo.Tuner.load(tmp_path / "a.db").trials) == 6


def test_paused_trials_are_not_resumed_after_termination(storage):
    strategy = hpo.Hyperband(max_resource=9, pause=True)
    stop_when = [hpo.TargetReached(0.01)]
    tuner = hpo.Tuner(X, LOSS, strategy=strategy, max_trials=30, stop_when=stop_when, storage=storage, seed=0)
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": 0.0 if trial.number == 8 else 1.0 + trial.number}):
                break
    assert tuner.done
    assert tuner.trials[-1].number == 8
    assert not any(t.state in (TrialState.PAUSED, TrialState.RUNNING) for t in tuner.trials)


def test_abandoned_trials_are_stopped_when_it_is_enough(tmp_path):
    """One worker holds a trial and is gone; another reaches the target: nothing is trained again."""
    make = lambda: hpo.Tuner(X, LOSS, stop_when=[hpo.TargetReached(0.5)], storage=tmp_path / "a.db", seed=0)  # noqa: E731
    gone, tuner = make(), make()
    trial = gone.ask()
    trial.report(1, {"loss": 2.0})
    other = tuner.ask()
    other.report(1, {"loss": 0.1})
    other.end()
    assert not tuner.done
    release(trial)
    assert tuner.ask() is None
    assert tuner.done
    assert tuner.trials[0].stop_reason.startswith("target reached")


# Time.


class Clock:
    """A clock that is set by hand, in the place of a storage's."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    from hpo_plugins.storage import engine, sql_study

    clock = Clock()
    this_now = engine.sa.bindparam("this_now", type_=engine.sa.Float(53))
    monkeypatch.setattr(engine.Database, "now", lambda self: this_now)
    monkeypatch.setattr(sql_study, "time", clock)
    return clock


def test_runtime_counts_while_leases_are_held_only(tmp_path, clock):
    store = open_storage(tmp_path / "a.db").open("s", {})
    offer = lambda number: hpo.records.Assignment(number, {"x": 0.5}, 1, 0, "w", 60.0)  # noqa: E731
    assert store.changes(0).runtime == 0
    store.acquire(offer(0), 0)
    for _ in range(4):  # a process that is alive renews its lease every 15 seconds
        clock.now += 15
        store.renew([(0, 1)], 60.0)
    assert store.changes(0).runtime == 60
    clock.now += 5
    assert store.changes(0).runtime == 65
    store.update(0, 1, state=TrialState.COMPLETED, ended_at=True)
    clock.now += 8 * 3600  # a night
    store.acquire(offer(1), 1)
    assert 65 < store.changes(0).runtime <= 65 + 30
    clock.now -= 100  # somebody set the clock back
    store.renew([(1, 1)], 60.0)
    assert 65 < store.changes(0).runtime <= 65 + 30


def test_max_runtime_ends_the_search_and_stops_trainings(storage, clock):
    tuner = hpo.Tuner(X, LOSS, max_runtime=20.0, storage=storage or MemoryStorage(clock.time), seed=0)
    session_of(tuner).clock = clock.time
    epochs = []
    for trial in tuner:
        for epoch in range(1, 5):
            clock.now += 3.0
            if trial.report(epoch, {"loss": 1.0}):
                break
        epochs.append(epoch)
    assert epochs == [4, 3]
    assert tuner.done
    assert tuner.stop_reason == "max_runtime=20 seconds have passed"
    assert [t.state for t in tuner.trials] == [TrialState.COMPLETED, TrialState.STOPPED]
    assert tuner.trials[1].stop_reason == tuner.stop_reason


# Width.


def test_no_more_trials_are_held_than_may_run_at_once(storage):
    tuner = hpo.Tuner(X, LOSS, max_trials=5, max_parallel=2, storage=storage, seed=0)
    first, second = tuner.ask(), tuner.ask()
    assert tuner.ask() is None
    assert not tuner.done
    first.report(1, {"loss": 1.0})
    first.end()
    assert tuner.ask().number == 2
    assert tuner.ask() is None
    assert second.number == 1


def test_width_holds_between_workers(tmp_path):
    """Eight workers on one storage, none of which knows of the others: never more than three trials at once."""
    running, most, lock, failures = 0, 0, threading.Lock(), []

    def work():
        nonlocal running, most
        try:
            tuner = hpo.Tuner(X, LOSS, max_trials=40, max_parallel=3, storage=tmp_path / "a.db", seed=0)
            tuner._loop._wake_up.set()  # look again at once
            for trial in tuner:
                with lock:
                    running += 1
                    most = max(most, running)
                trial.report(1, {"loss": 1.0})
                with lock:
                    running -= 1
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert most <= 3
    assert len(hpo.Tuner.load(tmp_path / "a.db").trials) == 40


def test_trial_of_a_dead_worker_takes_no_place(tmp_path):
    make = lambda: hpo.Tuner(X, LOSS, max_trials=5, max_parallel=1, storage=tmp_path / "a.db", seed=0)  # noqa: E731
    gone, tuner = make(), make()
    trial = gone.ask()
    assert tuner.ask() is None
    release(trial)
    assert tuner.ask().number == trial.number
