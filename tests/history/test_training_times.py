"""The start-up time of a trial is separated from its training time by the times of its reports alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.history import History
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space


def history_of(*reports):
    """A trial's history from ``(attempt, epoch, seconds)``."""
    history = History(Space({"x": hpo.Continuous(0, 1)}), hpo.Minimize("loss"))
    for revision, (attempt, epoch, seconds) in enumerate(reports, start=1):
        row = TrialRow(0, {"x": 0.5}, TrialState.RUNNING, attempt, 0, "w", 0.0, 0.0)
        report = ReportRow(0, attempt, epoch, 1.0 / epoch, {"loss": 1.0 / epoch}, seconds)
        history.apply(Changes(revision, 1, 0.0, [row], [report]))
    return history[0]


def test_startup_is_the_first_report_without_one_epoch():
    trial = history_of((1, 1, 7.0), (1, 2, 9.0), (1, 3, 11.0))
    assert trial.startup_seconds == pytest.approx(5.0)
    assert list(trial.curve.seconds) == pytest.approx([2.0, 4.0, 6.0])


def test_startup_of_a_resume_is_exact_after_two_reports():
    before = [(1, 1, 7.0), (1, 2, 9.0), (1, 3, 11.0)]
    trial = history_of(*before, (2, 4, 12.5))
    assert trial.startup_seconds == pytest.approx(10.5)  # by the first attempt's pace
    assert list(trial.curve.seconds) == pytest.approx([2.0, 4.0, 6.0, 8.0])
    trial = history_of(*before, (2, 4, 12.5), (2, 5, 15.0))
    assert trial.startup_seconds == pytest.approx(10.0)
    assert list(trial.curve.seconds) == pytest.approx([2.0, 4.0, 6.0, 8.5, 11.0])


def test_attempt_that_starts_again_before_counts_from_there():
    trial = history_of((1, 1, 2.0), (1, 2, 3.0), (1, 3, 4.0), (2, 2, 6.0), (2, 3, 7.0))
    assert list(trial.curve.epochs) == [1, 2, 3]
    assert trial.startup_seconds == pytest.approx(5.0)
    assert list(trial.curve.seconds) == pytest.approx([1.0, 2.0, 3.0])


def test_unknown_startup_is_none_and_takes_nothing_off():
    trial = history_of((1, 3, 7.0))
    assert trial.startup_seconds is None
    assert list(trial.curve.seconds) == [7.0]


def test_epoch_reported_again_changes_no_time():
    assert history_of((1, 1, 7.0), (1, 1, 7.5), (1, 2, 9.0)).startup_seconds == pytest.approx(5.0)


@given(
    pace=st.floats(0.01, 100),
    attempts=st.lists(st.tuples(st.floats(0, 1000), st.integers(2, 5)), min_size=1, max_size=4),
)
def test_constant_epoch_time_is_found_with_any_startup(pace, attempts):
    reports, epoch = [], 0
    for attempt, (startup, epochs) in enumerate(attempts, start=1):
        reports += [(attempt, epoch + n, startup + pace * n) for n in range(1, epochs + 1)]
        epoch += epochs
    trial = history_of(*reports)
    assert trial.startup_seconds == pytest.approx(attempts[-1][0], abs=1e-6)
    assert list(trial.curve.seconds) == pytest.approx([pace * n for n in range(1, epoch + 1)], abs=1e-6)
