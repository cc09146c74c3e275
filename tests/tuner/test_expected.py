"""``best_trial.expected``: what to expect of the best trial if it is trained again."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.records import expected_text

X = {"x": hpo.Continuous(0, 1), "y": hpo.Continuous(0, 1)}


def searched(objective=None, strategy=None, trials=24, noise=0.1, epochs=1, **arguments):
    """A search whose losses, or values to maximise with their sign changed, have noise."""
    objective = objective or hpo.Minimize("loss")
    sign = -1 if isinstance(objective, hpo.Maximize) else 1
    tuner = hpo.Tuner(arguments.pop("space", X), objective, strategy=strategy or hpo.Random(), max_trials=trials,
                      seed=0, progress="off", **arguments)  # fmt: skip
    rng = np.random.default_rng(0)
    for trial in tuner:
        true = (trial["x"] - 0.4) ** 2
        for epoch in range(1, epochs + 1):
            if trial.report(epoch, {objective.metric: sign * (true + 0.3 / epoch + noise * float(rng.normal()))}):
                break
    return tuner


@pytest.mark.parametrize("objective", [hpo.Minimize("loss"), hpo.Maximize("loss"), hpo.Minimize("loss", at="last")])
def test_expected_is_worse_than_the_best_of_many_noisy_values(objective):
    best = searched(objective).best_trial
    assert type(best.expected) is float
    assert type(best.expected_std) is float
    assert objective.loss(best.expected) > objective.loss(best.value)
    assert best.expected_std > 0


def test_expected_of_maximized_values_mirrors_that_of_minimized_ones():
    small, large = searched(hpo.Minimize("loss")).best_trial, searched(hpo.Maximize("loss")).best_trial
    assert (small.expected, small.expected_std) == pytest.approx((-large.expected, large.expected_std))


@pytest.mark.parametrize(
    "strategy",
    [hpo.Random(), hpo.Bayesian(), hpo.Bayesian(max_resource=9), hpo.Hyperband(max_resource=9, reduction_factor=2)],
    ids=repr,
)
def test_every_strategy_has_an_expectation(strategy):
    tuner = searched(strategy=strategy, trials=40, epochs=9)
    assert tuner.best_trial.expected_std > 0


def test_a_grid_has_an_expectation():
    space = {"x": hpo.Categorical([0.1, 0.3, 0.5, 0.9]), "y": hpo.Categorical([0, 1])}
    assert searched(strategy=hpo.Grid(), space=space, trials=None).best_trial.expected_std > 0


def test_conditional_parameters_have_an_expectation():
    space = X | {"kind": hpo.Categorical(["a", "b"]), "z": hpo.Integer(1, 9, when={"kind": "b"})}
    assert searched(space=space).best_trial.expected_std > 0


def test_few_comparable_trials_have_no_expectation():
    best = searched(trials=5).best_trial
    assert (best.expected, best.expected_std) == (None, None)


def test_trials_that_were_stopped_much_earlier_do_not_count():
    tuner = searched(strategy=hpo.Hyperband(max_resource=27), trials=12, epochs=27)
    assert sum(trial.epochs >= 18 for trial in tuner.trials) < 6
    assert tuner.best_trial.expected is None


def test_equal_values_have_no_expectation():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=10, seed=0, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    assert tuner.best_trial.expected is None


def test_training_runs_that_repeat_exactly_are_expected_as_seen_and_not_mentioned():
    tuner = searched(noise=0.0, trials=60)
    best = tuner.best_trial
    assert (best.expected, best.expected_std) == (best.value, 0.0)
    assert "expected" not in tuner.summary()
    assert "expected" not in best._repr_html_()


def test_folds_have_the_expectation_of_their_mean():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=16, seed=0, progress="off")
    rng = np.random.default_rng(0)
    for trial in tuner:
        for fold in trial.folds(3):
            fold.report(1, {"loss": trial["x"] + fold.number + 0.3 * float(rng.normal())})
    best = tuner.best_trial
    assert best.expected == pytest.approx(best.value, abs=0.5)
    assert 0 < best.expected_std < 0.6


def test_trials_of_identical_parents_count(tmp_path):
    storage = f"{tmp_path}/studies.db"
    parent = searched(storage=storage, name="first")
    child = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=1, seed=1, storage=storage, name="second", progress="off",
                      warm_start=hpo.WarmStart([parent], identical=True))  # fmt: skip
    for trial in child:
        trial.report(1, {"loss": 9.0})
    best = child.best_trial
    assert best.parent == "first"
    assert best.expected == pytest.approx(parent.best_trial.expected, abs=0.05)


@pytest.mark.parametrize(
    ("expected", "std", "text"),
    [
        (0.1419, 0.0042, "0.1419 +- 0.0042"), (98.7654, 0.25, "98.77 +- 0.25"), (123456.0, 7000.0, "123456 +- 7e+03"),
        (2.5, 1e-12, "2.5 +- 1e-12"), (0.5, 0.0, None), (None, None, None),
    ],
)  # fmt: skip
def test_expectation_is_shown_with_two_digits_of_its_deviation(expected, std, text):
    record = replace(searched(trials=1).best_trial, expected=expected, expected_std=std)
    assert expected_text(record) == text


def test_only_the_best_trial_is_asked_and_records_stay_equal():
    tuner = searched()
    best = tuner.best_trial
    assert tuner.trials[best.number] == best
    assert all(trial.expected is None for trial in tuner.trials)


def test_summary_report_and_command_line_show_it(tmp_path):
    pytest.importorskip("plotly")
    tuner = searched(storage=f"{tmp_path}/tuning.db", name="noisy")
    best = tuner.best_trial
    assert f"; {expected_text(best)} expected if trained again" in tuner.summary()
    tuner.to_html(tmp_path / "report.html")
    assert "expected if trained again" in (tmp_path / "report.html").read_text()
    assert "expected if trained again" in best._repr_html_()
    shown = CliRunner().invoke(main, ["best", f"{tmp_path}/tuning.db"])
    assert "expected if trained again" in shown.stdout


def test_a_loaded_study_expects_the_same(tmp_path):
    tuner = searched(storage=f"{tmp_path}/tuning.db", name="noisy")
    again = hpo.Tuner.load(f"{tmp_path}/tuning.db", "noisy").best_trial
    assert (again.expected, again.expected_std) == (tuner.best_trial.expected, tuner.best_trial.expected_std)


def test_trials_are_read_without_scipy():
    code = (
        "import sys, hpo_plugins as hpo\n"
        "tuner = hpo.Tuner({'x': hpo.Integer(0, 9)}, hpo.Minimize('loss'), strategy=hpo.Grid(), progress='off')\n"
        "for trial in tuner:\n"
        "    trial.report(1, {'loss': trial['x']})\n"
        "assert len(tuner.trials) == 10\n"
        "assert 'scipy' not in sys.modules, 'trials'\n"
    ).replace("hpo.Integer(0, 9)", "hpo.Categorical([*range(10)])")
    subprocess.run([sys.executable, "-c", code], check=True)
