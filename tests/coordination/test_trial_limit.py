"""max_trial_seconds: a trial that has trained for as long as it may stops at its next report."""

import math
import os

import pytest

import hpo_plugins as hpo
from hpo_plugins.coordination import silence
from hpo_plugins.coordination.silence import SilenceWatch
from hpo_plugins.storage.processes import name_of
from hpo_plugins.study.stored import to_json

LOSS = hpo.Minimize("loss")
HERE = name_of(os.getpid())
X = {"x": hpo.Continuous(0, 1)}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def tuner_with(clock, **arguments):
    tuner = hpo.Tuner(X, LOSS, **{"max_trials": 1, "seed": 0, "max_trial_seconds": 8, **arguments})
    tuner._loop.session.clock = clock
    return tuner


def train(trial, clock, epochs=20, **metrics):
    """Train an epoch a second; return the epoch after which the training run stopped."""
    for epoch in range(trial.start_epoch + 1, epochs + 1):
        clock.now += 1
        if trial.report(epoch, {"loss": 1 / epoch, **metrics}):
            return epoch
    return None


def test_training_run_stops_at_its_next_report(clock):
    tuner = tuner_with(clock)
    for trial in tuner:
        assert train(trial, clock) == 8
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.STOPPED
    assert record.stop_rule == "max_trial_seconds"
    assert record.stop_reason == "max_trial_seconds: 8 seconds have passed; it has trained for 8"
    assert (record.value, len(record.curve)) == (1 / 8, 8)


def test_time_counts_over_resumed_attempts_without_the_pause(clock, tmp_path):
    path = tmp_path / "s.db"
    first = tuner_with(clock, storage=path)
    trial = first.ask()
    train(trial, clock, epochs=5)
    trial.save(lambda path: path.touch())
    first._loop.session.release_all()
    clock.now += 1000
    trial = tuner_with(clock, storage=path).ask()
    assert (trial.attempt, trial.start_epoch) == (2, 5)
    assert train(trial, clock) == 8


def test_time_counts_over_folds(clock):
    tuner = tuner_with(clock)
    for trial in tuner:
        stopped = [train(fold, clock, epochs=3) for fold in trial.folds(5)]
    assert stopped == [None, None, 2]
    assert tuner.trials[0].stop_rule == "max_trial_seconds"


def test_reports_without_the_objective_stop_too(clock):
    tuner = tuner_with(clock)
    trial = tuner.ask()
    for epoch in range(1, 9):
        clock.now += 1
        stops = trial.report(epoch, {"other": 1.0}, objective_follows=True)
    assert stops
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.STOPPED


@pytest.mark.parametrize("pause", [False, True])
def test_trial_is_complete_or_out_of_time_but_does_not_wait(clock, pause):
    strategy = hpo.Hyperband(min_resource=8, max_resource=16, reduction_factor=2, pause=pause)
    tuner = tuner_with(clock, strategy=strategy, max_trials=9, max_trial_seconds=8)
    for trial in tuner:
        train(trial, clock)
    assert {t.stop_rule for t in tuner.trials} <= {"max_trial_seconds", "not among the best at rung 8"}
    assert not any(t.state is hpo.TrialState.PAUSED for t in tuner.trials)
    complete = tuner_with(clock, strategy=hpo.Hyperband(max_resource=8))
    for trial in complete:
        train(trial, clock)
    assert complete.trials[0].state is hpo.TrialState.COMPLETED


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "60", True, [60]])
def test_bad_limits_are_named(value):
    with pytest.raises(hpo.InvalidArgument, match="max_trial_seconds must be"):
        hpo.Tuner(X, LOSS, max_trial_seconds=value)


def test_limit_may_change_between_runs_and_is_stored_if_there_is_one(tmp_path):
    path = tmp_path / "s.db"
    assert "max_trial_seconds" not in to_json(hpo.Tuner(X, LOSS, storage=path).study)
    assert hpo.Tuner(X, LOSS, storage=path, max_trial_seconds=60).study.max_trial_seconds == 60
    assert hpo.Tuner.load(path).study.max_trial_seconds == 60
    assert hpo.Tuner(X, LOSS, storage=path).study.max_trial_seconds is None
    assert hpo.Tuner.load(path).study.max_trial_seconds is None


# Trials that report nothing.


def test_silent_trial_of_a_watched_worker_is_failed(clock, tmp_path):
    path = tmp_path / "s.db"
    worker = tuner_with(clock, storage=path, max_trials=3)
    silent, busy = worker.ask(), worker.ask()
    session = tuner_with(clock, storage=path, max_trials=3)._loop.session
    watch, other_watch = SilenceWatch(session), SilenceWatch(session)
    ended = {}
    for second in range(1, 60):
        clock.now += 1
        if second % 30 == 0:
            busy.report(second, {"loss": 1.0}, objective_follows=True)
        assert other_watch.end_silent({"another/1/2"}) == set()
        ended[second] = watch.end_silent({HERE})
    (found,) = [second for second, processes in ended.items() if processes]
    assert 8 + silence.GRACE_SECONDS < found < 8 + silence.GRACE_SECONDS + 3
    record, other = session.refresh()[silent.number].row, session.refresh()[busy.number].row
    assert record.state is hpo.TrialState.FAILED
    assert record.error.startswith("max_trial_seconds: no report for ")
    assert record.error.endswith(" seconds, and max_trial_seconds=8; its worker was ended")
    assert other.state is hpo.TrialState.RUNNING
    assert silent.report(1, {"loss": 1.0})  # if it wakes up after all, it stops


def test_nothing_is_watched_without_a_limit(clock):
    tuner = tuner_with(clock, max_trial_seconds=None)
    tuner.ask()
    watch = SilenceWatch(tuner._loop.session)
    clock.now += 10**6
    assert watch.end_silent({HERE}) == set()
