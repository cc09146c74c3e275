"""Simulated searches: they obey the real strategies, on tasks that agree with what a study has observed."""

import logging

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.modeling.model import fit_model
from hpo_plugins.modeling.sampled_task import SampledTask
from hpo_plugins.modeling.scale import NormalScores
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.sample_path import SamplePath

R = 9
SPACE = {"x": hpo.Continuous(0, 1), "kind": hpo.Categorical(["a", "b"])}


def loss(params, epoch):
    """Falls to a floor that depends on the configuration."""
    floor = 0.1 + (params["x"] - 0.3) ** 2 + 0.2 * (params["kind"] == "b")
    return floor + 0.5 / epoch


def study(strategy=None, trials=20, epochs=R, objective=None, **arguments):
    objective = objective or hpo.Minimize("loss")
    tuner = hpo.Tuner(
        SPACE, objective, strategy=strategy or hpo.Random(), max_trials=trials, seed=0, progress="off", **arguments
    )
    for trial in tuner:
        for epoch in range(1, epochs + 1):
            if trial.report(epoch, {"loss": objective.loss(loss(trial.params, epoch))}):
                break
    return tuner


@pytest.fixture(scope="module")
def earlier():
    return study()


# A function drawn from a posterior.


def posterior(n=5, *, curves=False):
    encoder = InputEncoder(hpo.Tuner(SPACE, hpo.Minimize("loss"), max_trials=1).space)
    layout = encoder.layout(curves=curves)
    x = encoder.inputs(np.random.default_rng(0).random((n, 2)), np.linspace(0, 1, n) if curves else None)
    return Posterior(layout, layout.start(), x, np.sin(5 * x[:, 0])), encoder


@pytest.mark.parametrize("curves", [False, True])
def test_drawn_functions_have_the_posterior_s_moments(curves):
    process, encoder = posterior(curves=curves)
    x = encoder.inputs(np.random.default_rng(1).random((3, 2)), np.array([0.1, 0.5, 1.0]) if curves else None)
    draws = []
    for seed in range(4000):
        path = SamplePath(process, np.random.default_rng(seed))
        draws.append(np.concatenate([path(x[:1]), path(x[1:])]))  # in two steps, as searches ask
    draws = np.array(draws)
    prediction = process.predict(x)
    joint = process.predict_joint(x, x)
    assert draws.mean(axis=0) == pytest.approx(prediction.mean, abs=0.07 * prediction.deviation.max())
    assert np.cov(draws.T) == pytest.approx(joint.covariance, abs=0.07 * joint.covariance.max())


def test_drawn_function_has_one_value_at_a_point():
    process, encoder = posterior()
    path = SamplePath(process, np.random.default_rng(0))
    x = encoder.inputs(np.random.default_rng(1).random((40, 2)))
    assert path(x) == pytest.approx(path(x), abs=0.02)
    assert path.fork(np.random.default_rng(9))(x) == pytest.approx(path(x), abs=0.02)


def test_drawn_function_without_data_is_the_prior():
    process, encoder = posterior(0)
    assert np.isfinite(SamplePath(process, np.random.default_rng(0))(encoder.inputs(np.full((1, 2), 0.5)))).all()


# The scale.


def test_scores_have_the_normal_distribution_and_an_inverse():
    losses = np.exp(np.random.default_rng(0).standard_normal(1000))
    scale = NormalScores(losses)
    scores = scale(losses)
    assert (scores.mean(), scores.std()) == pytest.approx((0, 1), abs=0.02)
    assert [scale.inverse(score) for score in scores[:50]] == pytest.approx(losses[:50].tolist())
    assert scale(np.array([np.nan]))[0] == scores.max()


def test_scores_below_the_best_stand_for_smaller_losses():
    scale = NormalScores(np.array([0.3, 0.1, 0.2, 0.2, 0.5]))
    best = scale(np.array([0.1]))[0]
    assert scale.inverse(best - 2) < scale.inverse(best - 1) < 0.1
    assert NormalScores(np.full(3, 0.5)).inverse(-4.0) == 0.5


# A drawn task.


def test_task_agrees_with_what_was_observed(earlier):
    task = SampledTask(fit_model(earlier.history, R, NormalScores), seed=0)
    errors = [abs(task.train(trial.params)[-1] - trial.curve[R]) for trial in earlier.trials]
    spread = np.std([trial.curve[R] for trial in earlier.trials])
    assert np.median(errors) < 0.3 * spread


def test_task_is_the_same_for_all_its_searches(earlier):
    task = SampledTask(fit_model(earlier.history, R, NormalScores), seed=0)
    params = {"x": 0.77, "kind": "b"}
    first, second = task.fork(1).train(params), task.fork(2).train(params)
    others = [SampledTask(fit_model(earlier.history, R, NormalScores), seed=s).train(params)[-1] for s in (1, 2, 3)]
    assert abs(first[-1] - second[-1]) <= max(np.ptp(others), 0.05)
    assert list(task.fork(1).train(params)) == list(first)


@pytest.mark.parametrize("objective", [hpo.Minimize("loss"), hpo.Maximize("loss")])
def test_metric_that_was_never_negative_stays_so(objective):
    tuner = study(objective=objective, trials=6)
    task = SampledTask(fit_model(tuner.history, R, NormalScores), seed=0)
    sign = objective.loss(1.0)
    values = [sign * task.train({"x": x, "kind": "a"}) for x in np.linspace(0, 1, 30)]
    same_side = np.min(values) >= 0 if isinstance(objective, hpo.Minimize) else np.max(values) <= 0
    assert same_side


# Simulations.


def test_simulation_counts_what_real_searches_would(earlier):
    simulation = hpo.simulate(
        earlier,
        [hpo.Random(), hpo.Hyperband(max_resource=R, search="random")],
        workers=[1, 4],
        max_trials=12,
        repeats=2,
    )
    full, parallel, stopping, _ = simulation.scenarios
    assert (full.trials, full.epochs, full.seconds) == (12, 12 * R, 12 * R)  # untimed: an epoch takes one
    assert (parallel.trials, parallel.epochs, parallel.seconds) == (12, 12 * R, 3 * R)
    assert stopping.epochs < full.epochs
    for scenario in simulation.scenarios:
        for run in scenario.runs:
            assert list(run.values) == sorted(run.values, reverse=True)
            assert list(run.times) == sorted(run.times)


def test_simulation_finds_about_what_the_search_found():
    real = study(hpo.Hyperband(max_resource=R, search="random"), trials=30)
    simulation = hpo.simulate(real, [hpo.Hyperband(max_resource=R, search="random")], repeats=6)
    values = simulation.scenarios[0].best_at(simulation.horizon)
    assert np.mean(values) == pytest.approx(real.best_trial.value, rel=0.25)
    assert simulation.found == real.best_trial.value


def test_budget_breaks_searches_off(earlier):
    simulation = hpo.simulate(earlier, [hpo.Random()], workers=2, max_trials=12, budget=2 * R, repeats=1)
    (run,) = simulation.scenarios[0].runs
    assert (run.epochs, run.seconds, simulation.horizon) == (4 * R, 2 * R, 2 * R)


def test_pausing_strategies_resume_their_trials(earlier):
    (scenario,) = hpo.simulate(
        earlier, [hpo.Hyperband(max_resource=R, search="random", pause=True)], max_trials=20, repeats=1
    ).scenarios
    assert scenario.trials == 20
    assert 20 < scenario.epochs < 20 * R


def test_same_seed_gives_the_same(earlier):
    def once(seed):
        return hpo.simulate(earlier, [hpo.Random()], max_trials=5, repeats=2, seed=seed).scenarios[0].runs

    assert once(3) == once(3)
    assert once(3) != once(4)


def test_defaults_compare_what_people_choose_between(tmp_path):
    study(hpo.Hyperband(max_resource=R), trials=8, storage=tmp_path / "a.db", name="pilot")
    simulation = hpo.simulate(tmp_path / "a.db", repeats=1)
    assert [scenario.name for scenario in simulation.scenarios] == [
        "Hyperband(max_resource=9)",
        "Random()",
        "Hyperband(min_resource=3, max_resource=9)",
        "Bayesian(max_resource=9)",
    ]
    text = str(simulation)
    assert "study 'pilot'" in text
    assert "Times are epochs" in text
    assert len(simulation.to_dataframe()) == 4
    drawn = simulation.plot()
    assert len(drawn.axes[0].lines) == 5


def test_study_with_single_values_has_no_epochs():
    simulation = hpo.simulate(study(trials=6, epochs=1), [hpo.Random(), hpo.Bayesian()], max_trials=4, repeats=1)
    assert {scenario.epochs for scenario in simulation.scenarios} == {4}


def test_simulated_trials_are_not_logged(earlier, caplog):
    with caplog.at_level(logging.INFO, "hpo_plugins"):
        hpo.simulate(earlier, [hpo.Random()], max_trials=3, repeats=1)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategies": hpo.Random()}, "strategies must be a list"),
        ({"strategies": []}, "strategies must be a list"),
        ({"strategies": ["random"]}, "'random' in it"),
        ({"strategies": [hpo.Bayesian(max_resource=10)]}, "max_resource must be at most 9"),
        ({"strategies": [hpo.Grid()]}, "Grid"),
        ({"workers": []}, "workers must be one number or several"),
        ({"workers": [2, 2]}, "several different ones"),
        ({"workers": 0}, "workers must be"),
        ({"max_trials": 301}, "at most 300"),
        ({"budget": 0}, "budget"),
        ({"repeats": 0}, "repeats"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_refused(earlier, arguments, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.simulate(earlier, **arguments)


def test_study_with_too_few_results_is_refused():
    with pytest.raises(hpo.InvalidArgument, match="at least two trials with a value"):
        hpo.simulate(study(trials=1))


def test_study_with_folds_is_refused():
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), max_trials=3, seed=0, progress="off")
    for trial in tuner:
        for fold in trial.folds(2):
            fold.report(1, {"loss": trial["x"]})
    with pytest.raises(hpo.InvalidArgument, match="without folds"):
        hpo.simulate(tuner)


# A task that a function tells.


def tell(params):
    """An epoch of kind b takes three seconds, one of a takes one."""
    return [loss(params, epoch) for epoch in range(1, R + 1)], 3.0 if params["kind"] == "b" else 1.0


def empty(strategy=None, objective=None):
    objective = objective or hpo.Minimize("loss")
    return hpo.Tuner(SPACE, objective, strategy=strategy or hpo.Random(), max_trials=40, seed=0, progress="off")


def test_told_task_needs_no_results_and_has_any_number_of_trials():
    simulation = hpo.simulate(empty(), [hpo.Random()], train=tell, workers=[1, 50], max_trials=400, repeats=2)
    one, many = simulation.scenarios
    assert (one.trials, one.epochs, many.epochs) == (400, 400 * R, 400 * R)
    assert one.utilisation == pytest.approx(1)
    assert 0.8 < many.utilisation < 1
    assert one.seconds / many.seconds == pytest.approx(50 * many.utilisation)
    for run in one.runs + many.runs:
        assert 0.1 < run.values[-1] < 0.2  # the floor is 0.1 + 0.5 / 9
    assert one.runs[0] != one.runs[1]
    text = str(simulation)
    assert "busy" in text
    assert "surrogate" not in text


def test_told_task_follows_the_objective_and_a_training_may_diverge():
    def diverge(params):
        values = [1 - loss(params, epoch) for epoch in range(1, R + 1)]
        return [*values[:3], float("nan"), *values[4:]] if params["kind"] == "b" else values, 1

    tuner = empty(objective=hpo.Maximize("accuracy"))
    (scenario,) = hpo.simulate(tuner, [hpo.Random()], train=diverge, repeats=1).scenarios
    assert 40 * 4 < scenario.epochs < 40 * R
    assert 0.8 < scenario.runs[0].values[-1] < 0.9  # that of kind a: 1 - 0.1 - 0.5 / 9


def test_paused_trainings_of_a_told_task_are_made_once():
    made = []

    def train(params):
        made.append(tuple(params.values()))
        return tell(params)

    strategy = hpo.Hyperband(max_resource=R, search="random", pause=True)
    (scenario,) = hpo.simulate(empty(), [strategy], train=train, repeats=1).scenarios
    assert scenario.trials == len(set(made[1:])) == len(made) - 1 == 40  # and one before, to know its epochs


def test_broken_off_epochs_count_as_work():
    (scenario,) = hpo.simulate(empty(), [hpo.Random()], train=tell, workers=7, budget=20.5, repeats=1).scenarios
    assert scenario.utilisation == pytest.approx(1)


@pytest.mark.parametrize("found", [[1.0], ([1.0], 0), ([1.0], "2"), ([], 1.0), (["a"], 1.0), ([[1.0]], 1.0), None, 3])
def test_told_task_must_be_values_and_seconds(found):
    with pytest.raises(hpo.InvalidArgument, match="train must return"):
        hpo.simulate(empty(), [hpo.Random()], train=lambda _: found)
