"""A process with a prior mean, and how far earlier studies are trusted."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import hpo_plugins as hpo
from hpo_plugins.history import Curve, History, ParentTrial, ParentTrials
from hpo_plugins.modeling.guides import agreement
from hpo_plugins.modeling.model import fit_model
from hpo_plugins.modeling.observations import known_points, observe_identical
from hpo_plugins.modeling.transfer import guiding_parents, transfer_candidate
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.prior_mean import PriorMean

SPACE = Space({"a": hpo.Continuous(0, 1), "b": hpo.Continuous(0, 1), "k": hpo.Categorical(["x", "y", "z"])})
RNG = np.random.default_rng(0)


def loss_at(points):
    return ((points[:, :2] - 0.3) ** 2).sum(axis=1) + 0.1 * np.floor(points[:, 2] * 3)


@pytest.fixture
def parts():
    """A process over configurations, one over curves that has it as its prior mean, and inputs to predict at."""
    encoder = InputEncoder(SPACE)
    points = encoder.snap(RNG.random((12, 3)))
    plain, curves = encoder.layout(curves=False), encoder.layout(curves=True)
    other = Posterior(plain, plain.start(), encoder.inputs(points), loss_at(points))
    x = encoder.inputs(encoder.snap(RNG.random((8, 3))), RNG.random(8))
    return other, curves, x, RNG.normal(size=8), encoder.inputs(encoder.snap(RNG.random((5, 3))), RNG.random(5))


def test_prior_mean_shifts_the_process_of_the_residuals(parts):
    other, layout, x, y, at = parts
    mean = PriorMean([other, other], [0.5, -2.0], 3.0)
    guided = Posterior(layout, layout.start(), x, y, mean)
    plain = Posterior(layout, layout.start(), x, y - mean(x))
    assert mean(at) == pytest.approx(3.0 - 1.5 * other.predict(at[:, :-1])[0])
    for ours, theirs, shift in zip(
        guided.predict_joint(at, x), plain.predict_joint(at, x), (mean(at), 0, mean(x), 0), strict=True
    ):
        assert ours == pytest.approx(theirs + shift)
    assert guided.predict(at)[0] == pytest.approx(plain.predict(at)[0] + mean(at))
    assert guided.predict(at)[1] == pytest.approx(plain.predict(at)[1])


def test_gradients_equal_finite_differences(parts):
    other, layout, x, y, at = parts
    guided = Posterior(layout, layout.start(), x, y, PriorMean([other], [1.5], 0.0))
    mean, deviation, mean_gradient, deviation_gradient = guided.predict_with_gradient(at)
    assert mean == pytest.approx(guided.predict(at)[0])
    assert deviation == pytest.approx(guided.predict(at)[1])
    for column in (0, 1):
        step = np.zeros(at.shape[1])
        step[column] = 1e-6
        up, down = guided.predict(at + step), guided.predict(at - step)
        assert mean_gradient[:, column] == pytest.approx((up[0] - down[0]) / 2e-6, abs=1e-4)
        assert deviation_gradient[:, column] == pytest.approx((up[1] - down[1]) / 2e-6, abs=1e-4)


def test_conditioning_on_the_mean_moves_no_mean(parts):
    other, layout, x, y, at = parts
    guided = Posterior(layout, layout.start(), x, y, PriorMean([other], [1.5], 0.0))
    later = guided.condition_on_mean(at)
    assert later.predict(x[:3])[0] == pytest.approx(guided.predict(x[:3])[0], abs=1e-4)
    assert (later.predict(at)[1] < guided.predict(at)[1]).all()
    assert guided.condition_on_mean(at[:0]) is guided


def test_prior_mean_without_weights_is_its_offset(parts):
    _, _, x, _, _ = parts
    assert (PriorMean([parts[0]], [0.0], 1.0)(x) == 1.0).all()
    assert (PriorMean([parts[0]], [0.0], 1.0).gradient(x) == 0.0).all()


# Trust.


@pytest.mark.parametrize("n", [3, 4, 10, 40])
def test_agreement_is_the_rank_correlation_less_chance(n):
    a = RNG.normal(size=n)
    b = a + 0.3 * RNG.normal(size=n)
    r = spearmanr(a, b).statistic
    expected = max(0.0, r * (1 - (1 - r**2) / ((n - 2) * r**2))) if r > 0 else 0.0
    assert agreement(a, b) == pytest.approx(expected)
    assert agreement(a, b) == pytest.approx(agreement(np.exp(a), 5 * b - 3))


def test_opposite_constant_and_few_are_not_trusted():
    a = RNG.normal(size=20)
    assert agreement(a, -a) == 0
    assert agreement(a, np.zeros(20)) == 0
    assert agreement(a[:2], a[:2]) == 0
    assert agreement(a, a) == pytest.approx(1)


def test_chance_is_rarely_trusted_much():
    agreements = [agreement(RNG.normal(size=20), RNG.normal(size=20)) for _ in range(300)]
    assert np.mean(agreements) < 0.1


# In the model.


def parent(losses_at, *, identical=False, trials=25, failed=0):
    points = InputEncoder(SPACE).snap(np.random.default_rng(1).random((trials, 3)))
    earlier = []
    for index, (point, loss) in enumerate(zip(points, losses_at(points), strict=True)):
        curve = Curve()
        curve.put(1, float(loss), 0.0)
        earlier.append(ParentTrial(point, curve, TrialState.FAILED if index < failed else TrialState.COMPLETED))
    return ParentTrials("parent", identical, earlier)


def history(parents, trials=8):
    made = History(SPACE, hpo.Minimize("loss"), parents=parents)
    points = np.random.default_rng(2).random((trials, 3))
    rows, reports = [], []
    for number, point in enumerate(points):
        params = SPACE.decode(point)
        rows.append(TrialRow(number, params, TrialState.COMPLETED, 1, 0, "w", 0.0, 0.0, ended_at=1.0))
        loss = float(loss_at(SPACE.encode(params)[None])[0])
        reports.append(ReportRow(number, 1, 1, loss, {}, 0.0))
    made.apply(Changes(1, trials, 0.0, rows, reports))
    return made


def test_related_parent_is_trusted_and_an_inverted_one_not():
    grid = InputEncoder(SPACE).snap(RNG.random((200, 3)))

    def error(parents):
        model = fit_model(history(parents), None)
        expected = model.posterior.predict(model.inputs(grid, 1))[0]
        return spearmanr(expected, loss_at(grid)).statistic, model.has_prior_mean

    cold, has_prior_mean = error(())
    assert not has_prior_mean
    related, has_prior_mean = error((parent(lambda points: 7 + 100 * loss_at(points)),))
    assert has_prior_mean
    assert related > cold
    assert error((parent(lambda points: -loss_at(points)),)) == (cold, False)


def test_identical_parents_trials_are_observations():
    earlier = parent(loss_at, identical=True, failed=2)
    made = history((earlier,), trials=3)
    assert known_points(made).shape == (28, 3)
    seen = observe_identical(made, None)
    assert list(seen.trial) == list(range(3, 28))
    assert np.isnan(seen.loss[:2]).all()
    assert not np.isnan(seen.loss[2:]).any()
    model = fit_model(made, None)
    assert len(model.y) == 28
    assert set(model.incumbents(5)) - {0, 1, 2}
    assert len(observe_identical(made, 9).trial) == 25


def test_every_other_initial_trial_is_a_parents_best():
    good, encoder = parent(loss_at), InputEncoder(SPACE)
    best = good.trials[int(np.argmin([trial.curve.losses[0] for trial in good.trials]))].point
    assert np.array_equal(transfer_candidate(history((good,), trials=0), encoder), best)
    assert transfer_candidate(history((good,), trials=1), encoder) is None
    assert transfer_candidate(history((), trials=0), encoder) is None
    assert guiding_parents(history((good, parent(loss_at, identical=True), parent(loss_at, trials=2)))) == [0]


@pytest.mark.parametrize(("sign", "leads"), [(1, True), (-1, False)])
def test_parent_that_did_worse_than_a_draw_has_no_second_turn(sign, leads):
    objective = hpo.Minimize("loss")
    tuner = hpo.Tuner(SPACE, objective, strategy=hpo.Random(), max_trials=20, seed=3)
    for trial in tuner:
        trial.report(1, {"loss": sign * float(loss_at(SPACE.encode(trial.params)[None])[0])})
    child = hpo.Tuner(SPACE, objective, strategy=hpo.Bayesian(), max_trials=3, seed=0, warm_start=[tuner])
    for trial in child:
        trial.report(1, {"loss": float(loss_at(SPACE.encode(trial.params)[None])[0])})
    tried = [record.params for record in tuner.trials]
    assert [trial.params in tried for trial in child.trials] == [True, False, leads]
