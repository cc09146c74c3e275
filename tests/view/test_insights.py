"""Importance on functions whose importances are known, and what is advised."""

import re

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.view import insights
from hpo_plugins.view.importance import importances

X = {"x": hpo.Continuous(0, 1)}


def studied(function, names, trials=60, **arguments):
    tuner = hpo.Tuner(
        {name: hpo.Continuous(0, 1, scale="linear") for name in names}, hpo.Minimize("loss"), max_trials=trials, seed=1,
        **arguments,
    )  # fmt: skip
    for trial in tuner:
        trial.report(1, {"loss": function(*(trial[name] for name in names))})
    return tuner._view()


def total_effects(function, dimension):
    """Closed by brute force: E[Var(f | all but x_i)] / Var(f) on a grid."""
    grid = (np.arange(24) + 0.5) / 24
    values = function(*np.meshgrid(*[grid] * dimension, indexing="ij"))
    return [float(values.var(axis=place).mean() / values.var()) for place in range(dimension)]


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, c: 4 * a + 2 * b + 0 * c,
        lambda a, b, c: (a - 0.5) ** 2 + 0.3 * b + 0 * c,
        lambda a, b, c: 3 * (a - 0.5) * (b - 0.5) + 0.2 * c,
    ],
    ids=["linear", "quadratic", "interaction"],
)
def test_importance_is_the_total_effect(function):
    view = studied(function, "abc")
    found = {i.name: i for i in importances(view.history, view.max_resource)}
    for name, expected in zip("abc", total_effects(function, 3), strict=True):
        assert found[name].total == pytest.approx(expected, abs=0.08 + 2 * found[name].deviation)


def test_importance_of_curves_is_that_of_full_trainings(demo):
    view = demo._view()
    found = importances(view.history, view.max_resource)
    assert found[0].name == "eta"
    assert found[0].total > 0.6
    assert {i.name: i.total for i in found}["noise"] < 0.1


def test_too_few_trials_have_no_importance():
    view = studied(lambda a, b: a + b, "ab", trials=5)
    assert importances(view.history, None) == []


def test_best_trials_at_a_bound_are_told():
    view = studied(lambda a, b: a + 0.01 * b, "ab", strategy=hpo.Bayesian(), trials=25)
    assert any(
        text.startswith("a: the best 3 trials lie at its bound 0; lower values") for text in insights.advice(view)
    )


def test_parameter_without_effect_is_told(demo):
    (told,) = (text for text in insights.advice(demo._view()) if "no effect can be seen" in text)
    assert "kind" in told
    assert "eta:" not in told


def test_comparisons_that_say_little_are_told():
    strategy = hpo.Hyperband(max_resource=9, search="random")
    tuner = hpo.Tuner(X, hpo.Minimize("loss", at="last"), strategy=strategy, seed=0, max_trials=60)
    for trial in tuner:
        for epoch in range(1, 10):  # the order of the first epochs is turned round at the end
            if trial.report(epoch, {"loss": 1 - trial["x"] if epoch < 9 else trial["x"]}):
                break
    view = tuner._view()
    assert insights.rank_agreement(view)[1] < -0.9
    assert any("The order at epoch 3 says little about the end" in text for text in insights.advice(view))


def test_lead_is_compared_with_the_noise_of_the_curve(demo):
    assert insights.lead(demo._view()).endswith(" behind: within the noise of the best trial's curve.")


def led(values, epochs=1):
    """Return the insights for trials with these values."""
    tuner = hpo.Tuner(X, hpo.Maximize("accuracy"), max_trials=len(values), seed=0)
    for trial, value in zip(tuner, values, strict=False):
        for epoch in range(1, epochs + 1):
            trial.report(epoch, {"accuracy": value(epoch) if callable(value) else value})
    return insights.lead(tuner._view())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.5, 1.0, 1.0], "trials 1 and 2 tie at 1."),
        ([1.0, 0.5, 1.0, 1.0], "trials 0, 2 and 3 tie at 1."),
        ([1.0] * 6, "6 trials tie at 1."),
        ([0.5, 1.0], "trial 0 is second with 0.5, 0.5 behind."),
    ],
)
def test_equal_best_values_are_a_tie(values, text):
    assert led(values) == text


def test_lead_over_a_curve_almost_without_noise_has_no_large_number():
    text = led([lambda epoch: 0.5, lambda epoch: 0.8 + 1e-9 * (epoch % 2)], epochs=10)
    assert text.endswith(": more than 100 times the noise of the best trial's curve.")


def test_lead_beyond_noise_has_a_ratio():
    text = led([lambda epoch: 0.5, lambda epoch: 0.8 + 0.01 * (epoch % 2)], epochs=10)
    found = re.fullmatch(r"trial 0 is second with 0.5, 0.31 behind: (\d+\.\d) times the noise of .* curve\.", text)
    steps = np.array([-0.01, 0.01, -0.01])  # of the last four epochs
    assert float(found[1]) == pytest.approx(0.31 / (steps.std() / 2**0.5), abs=0.05)


def test_lead_within_noise_has_no_ratio():
    wave = lambda epoch: 0.5 + 0.1 * (epoch % 2)  # noqa: E731 - a curve that varies by more than the lead
    text = led([wave, lambda epoch: wave(epoch) + 1e-6], epochs=10)
    assert text == "trial 0 is second with 0.6, 1e-06 behind: within the noise of the best trial's curve."


def test_every_study_has_some_advice_or_none(edge):
    view = edge._view()
    assert isinstance(insights.advice(view), list)
    lead = insights.lead(view)
    assert lead is None or "is second with" in lead or " tie at " in lead


def test_lead_compares_trials_with_the_same_folds():
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Maximize("score"), max_trials=3, seed=0)
    for trial in tuner:
        for fold in trial.folds(2):
            fold.report(1, {"score": [0.7, 0.9, 0.6][trial.number]})
            if trial.number == 1:
                break
    assert insights.lead(tuner._view()).startswith("trial 2 is second with 0.6, 0.1 behind")
