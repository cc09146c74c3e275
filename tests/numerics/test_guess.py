"""A process with a guess for its mean, and how far earlier studies are believed."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import hpo_plugins as hpo
from hpo_plugins.history import Curve, History, ParentTrial, ParentTrials
from hpo_plugins.modeling.model import model_of
from hpo_plugins.modeling.observations import known_points, observe_identical
from hpo_plugins.modeling.transfer import agreement, guides, lead
from hpo_plugins.records import Changes, ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space
from hpo_plugins.surrogate.encoding import Features
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.prior_mean import Guess, GuidedPosterior

SPACE = Space({"a": hpo.Continuous(0, 1), "b": hpo.Continuous(0, 1), "k": hpo.Categorical(["x", "y", "z"])})
RNG = np.random.default_rng(0)


def loss_at(points):
    return ((points[:, :2] - 0.3) ** 2).sum(axis=1) + 0.1 * np.floor(points[:, 2] * 3)


@pytest.fixture
def parts():
    """A process over configurations, one over curves that has it as its guess, and inputs to ask it at."""
    features = Features(SPACE)
    points = features.snap(RNG.random((12, 3)))
    plain, curves = features.layout(curves=False), features.layout(curves=True)
    other = Posterior(plain, plain.start(), features.inputs(points), loss_at(points))
    x = features.inputs(features.snap(RNG.random((8, 3))), RNG.random(8))
    return other, curves, x, RNG.normal(size=8), features.inputs(features.snap(RNG.random((5, 3))), RNG.random(5))


def test_guided_process_is_the_process_of_the_differences(parts):
    other, layout, x, y, at = parts
    guess = Guess([other, other], [0.5, -2.0], 3.0)
    guided = GuidedPosterior(layout, layout.start(), x, y, guess)
    plain = Posterior(layout, layout.start(), x, y - guess(x))
    assert guess(at) == pytest.approx(3.0 - 1.5 * other.at(at[:, :-1])[0])
    for ours, theirs, shift in zip(
        guided.jointly(at, x), plain.jointly(at, x), (guess(at), 0, guess(x), 0), strict=True
    ):
        assert ours == pytest.approx(theirs + shift)
    assert guided.at(at)[0] == pytest.approx(plain.at(at)[0] + guess(at))
    assert guided.at(at)[1] == pytest.approx(plain.at(at)[1])


def test_guided_slopes_are_those_of_finite_differences(parts):
    other, layout, x, y, at = parts
    guided = GuidedPosterior(layout, layout.start(), x, y, Guess([other], [1.5], 0.0))
    mean, deviation, by_mean, by_deviation = guided.slopes(at)
    assert mean == pytest.approx(guided.at(at)[0])
    assert deviation == pytest.approx(guided.at(at)[1])
    for column in (0, 1):
        step = np.zeros(at.shape[1])
        step[column] = 1e-6
        up, down = guided.at(at + step), guided.at(at - step)
        assert by_mean[:, column] == pytest.approx((up[0] - down[0]) / 2e-6, abs=1e-4)
        assert by_deviation[:, column] == pytest.approx((up[1] - down[1]) / 2e-6, abs=1e-4)


def test_expected_results_move_no_mean(parts):
    other, layout, x, y, at = parts
    guided = GuidedPosterior(layout, layout.start(), x, y, Guess([other], [1.5], 0.0))
    later = guided.with_expected(at)
    assert later.at(x[:3])[0] == pytest.approx(guided.at(x[:3])[0], abs=1e-4)
    assert (later.at(at)[1] < guided.at(at)[1]).all()
    assert guided.with_expected(at[:0]) is guided


def test_guess_without_shares_says_nothing(parts):
    assert not Guess([parts[0]], [0.0], 1.0)
    assert Guess([parts[0]], [0.1], 1.0)


# Belief.


@pytest.mark.parametrize("n", [3, 4, 10, 40])
def test_belief_is_the_rank_correlation_less_chance(n):
    a = RNG.normal(size=n)
    b = a + 0.3 * RNG.normal(size=n)
    r = spearmanr(a, b).statistic
    expected = max(0.0, r * (1 - (1 - r**2) / ((n - 2) * r**2))) if r > 0 else 0.0
    assert agreement(a, b) == pytest.approx(expected)
    assert agreement(a, b) == pytest.approx(agreement(np.exp(a), 5 * b - 3))


def test_opposite_constant_and_few_are_not_believed():
    a = RNG.normal(size=20)
    assert agreement(a, -a) == 0
    assert agreement(a, np.zeros(20)) == 0
    assert agreement(a[:2], a[:2]) == 0
    assert agreement(a, a) == pytest.approx(1)


def test_chance_is_rarely_believed_much():
    beliefs = [agreement(RNG.normal(size=20), RNG.normal(size=20)) for _ in range(300)]
    assert np.mean(beliefs) < 0.1


# In the model.


def parent(losses_at, *, identical=False, trials=25, failed=0):
    points = Features(SPACE).snap(np.random.default_rng(1).random((trials, 3)))
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


def test_related_parent_is_believed_and_an_inverted_one_is_not():
    grid = Features(SPACE).snap(RNG.random((200, 3)))

    def error(parents):
        model = model_of(history(parents), None)
        expected = model.posterior.at(model.at(grid, 1))[0]
        return spearmanr(expected, loss_at(grid)).statistic, model.is_guided

    cold, is_guided = error(())
    assert not is_guided
    related, is_guided = error((parent(lambda points: 7 + 100 * loss_at(points)),))
    assert is_guided
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
    model = model_of(made, None)
    assert len(model.y) == 28
    assert set(model.leaders(5)) - {0, 1, 2}
    assert len(observe_identical(made, 9).trial) == 25


def test_every_other_trial_of_the_opening_is_a_parents_best():
    good, features = parent(loss_at), Features(SPACE)
    best = good.trials[int(np.argmin([trial.curve.losses[0] for trial in good.trials]))].point
    assert np.array_equal(lead(history((good,), trials=0), features), best)
    assert lead(history((good,), trials=1), features) is None
    assert lead(history((), trials=0), features) is None
    assert guides(history((good, parent(loss_at, identical=True), parent(loss_at, trials=2)))) == [0]


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
