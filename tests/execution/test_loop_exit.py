"""How a loop was left must be told apart in every shape that Python code gives it."""

import contextlib
import subprocess
import sys
import textwrap

import pytest

import hpo_plugins as hpo

RUNNING, COMPLETED, FAILED = hpo.TrialState.RUNNING, hpo.TrialState.COMPLETED, hpo.TrialState.FAILED


@pytest.fixture
def tuner():
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=3, seed=0)


def trials_of(tuner):
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        yield trial


def leave_by_break(tuner):
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        break
    after = 1
    return after


def leave_by_return(tuner):
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        return trial
    return None


def leave_by_error(tuner):
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        raise ValueError("boom")


def leave_by_error_deeper(tuner):
    def body(trial):
        trial.report(1, {"loss": 1.0})
        raise ValueError("boom")

    for trial in tuner:
        body(trial)


def leave_by_error_handled_around(tuner):
    try:
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            raise ValueError("boom")
    except ValueError:
        return


def leave_by_error_suppressed(tuner):
    with contextlib.suppress(ValueError):
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            raise ValueError("boom")


def leave_by_error_through_finally(tuner):
    after = []
    try:
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            raise ValueError("boom")
    finally:
        after.append(1)


def leave_by_error_while_another_is_handled(tuner):
    try:
        raise OSError("around")
    except OSError:
        leave_by_error(tuner)


def leave_by_break_while_another_is_handled(tuner):
    try:
        raise OSError("around")
    except OSError:
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            break


def leave_by_error_under_enumerate(tuner):
    for _, trial in enumerate(tuner):
        trial.report(1, {"loss": 1.0})
        raise ValueError("boom")


def leave_by_error_through_a_generator(tuner):
    for _ in trials_of(tuner):
        raise ValueError("boom")


def leave_by_break_through_a_generator(tuner):
    for _ in trials_of(tuner):
        break
    after = 1
    return after


LEFT_BY_ERROR = [f for name, f in list(globals().items()) if name.startswith("leave_by_error")]
LEFT_OTHERWISE = [f for name, f in list(globals().items()) if name.startswith(("leave_by_break", "leave_by_return"))]


@pytest.mark.parametrize("leave", LEFT_BY_ERROR)
def test_error_of_the_training_is_recorded(leave, tuner):
    tracer = sys.gettrace()
    with contextlib.suppress(ValueError):
        leave(tuner)
    (record,) = tuner.trials
    assert (record.state, record.error) == (FAILED, "ValueError: boom")
    assert sys.gettrace() is tracer


@pytest.mark.parametrize("leave", LEFT_OTHERWISE)
def test_leaving_without_error_ends_the_trial(leave, tuner):
    tracer = sys.gettrace()
    leave(tuner)
    (record,) = tuner.trials
    assert (record.state, record.error) == (COMPLETED, None)
    assert sys.gettrace() is tracer


def test_error_reaches_the_user_unchanged(tuner):
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        for _ in tuner:
            raise error
    assert caught.value is error


def test_error_of_a_trial_object_that_is_dropped_ends_it(tuner):
    trials = iter(tuner)
    next(trials).report(1, {"loss": 1.0})
    del trials
    (record,) = tuner.trials
    assert record.state is COMPLETED


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_gives_the_trial_back(interrupt, tuner):
    with pytest.raises(interrupt):
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            raise interrupt
    (record,) = tuner.trials
    assert record.state is RUNNING
    again = tuner.ask()
    assert (again.number, again.params) == (0, record.params)
    assert tuner.trials[0].attempts == 2


def test_break_before_a_report_gives_the_trial_back(tuner):
    for _ in tuner:
        break
    assert tuner.ask().number == 0


@pytest.mark.parametrize(("ending", "state"), [("raise ValueError('boom')", "failed"), ("sys.exit(3)", "running")])
@pytest.mark.parametrize("where", ["top level", "function"])
def test_script_that_ends_by_an_error_records_it(ending, state, where, tmp_path):
    loop = f"""
    for trial in tuner:
        trial.report(1, {{"loss": 1.0}})
        {ending}
    """
    body = loop if where == "top level" else f"def main():\n{textwrap.indent(textwrap.dedent(loop), '    ')}\nmain()"
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport hpo_plugins as hpo\n"
        "tuner = hpo.Tuner({'x': hpo.Continuous(0, 1)}, hpo.Minimize('loss'), max_trials=3, storage=sys.argv[1])\n"
        + textwrap.dedent(body)
    )
    database = tmp_path / "study.db"
    ended = subprocess.run([sys.executable, script, database], capture_output=True, text=True, check=False)
    assert ended.returncode == (1 if state == "failed" else 3)
    tuner = hpo.Tuner.load(database)
    (record,) = tuner.trials
    assert record.state == state
    if state == "failed":
        assert record.error == "ValueError: boom"
        assert ended.stderr.strip().splitlines()[-1] == "ValueError: boom"
    else:
        assert tuner.ask().number == 0  # given back at exit: nobody waits for its lease
