"""Beliefs: densities that integrate to 1, quantiles that invert them, and what may be believed."""

import numpy as np
import pytest
from scipy import stats

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.space.base import ParameterBase
from hpo_plugins.space.belief import DEVIATIONS, ODDS, UNIFORM_SHARE
from hpo_plugins.space.sobol import draw
from hpo_plugins.study.stored import from_json, to_json
from hpo_plugins.surrogate.encoding import InputEncoder

MIDDLES = (np.arange(20_000) + 0.5) / 20_000
BELIEVED = {
    "log": hpo.Continuous(1e-5, 1, scale="log", prior=1e-3),
    "edge": hpo.Continuous(0, 1, prior=0, confidence="high"),
    "whole": hpo.Integer(1, 9, prior=3, confidence="low"),
    "listed": hpo.Ordinal([16, 32, 64, 128], prior=32),
    "weighted": hpo.Ordinal([16, 32, 64, 128], prior=[0, 0.5, 0.5, 0]),
    "category": hpo.Categorical(["a", None, True, 1], prior=True),
    "weights": hpo.Categorical(["a", "b", "c"], prior={"b": 0.7, "a": 0.3, "c": 0}),
}
SPACE = Space(BELIEVED | {"plain": hpo.Continuous(0, 1)})


@pytest.mark.parametrize("name", BELIEVED)
def test_densities_integrate_to_one(name):
    assert BELIEVED[name].belief.density(MIDDLES).mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", BELIEVED)
def test_quantiles_invert_the_distribution_function(name):
    belief = BELIEVED[name].belief
    quantiles = belief.quantile(MIDDLES[::200])
    below = np.array([(belief.density(MIDDLES) * (u >= MIDDLES)).mean() for u in quantiles])
    np.testing.assert_allclose(below, MIDDLES[::200], atol=2e-3)


def test_a_number_is_believed_to_be_normal_around_its_prior_and_truncated():
    deviation = DEVIATIONS["medium"]
    mode = 0.4  # of 1e-5 .. 1 on the log scale, 1e-3
    twin = stats.truncnorm(-mode / deviation, (1 - mode) / deviation, mode, deviation)
    np.testing.assert_allclose(BELIEVED["log"].belief.density(MIDDLES), twin.pdf(MIDDLES), rtol=1e-9)
    np.testing.assert_allclose(BELIEVED["log"].belief.quantile(MIDDLES), twin.ppf(MIDDLES), atol=1e-9)


def test_the_odds_of_a_believed_category_follow_the_confidence():
    for confidence, odds in ODDS.items():
        belief = hpo.Categorical(["a", "b", "c"], prior="b", confidence=confidence).belief
        density = belief.density(np.array([1 / 6, 3 / 6, 5 / 6]))
        assert density[1] / density[0] == pytest.approx(odds)
        assert density[0] == pytest.approx(density[2])


def test_the_believed_loss_is_minus_the_log_of_the_mixed_density_and_its_gradient_fits():
    encoder, step = InputEncoder(SPACE), 1e-6
    points = encoder.snap(np.random.default_rng(0).random((50, len(SPACE))))
    active = encoder.active(points)
    factors = [p.belief.density(points[:, i]) for i, p in enumerate(SPACE.values()) if p.belief is not None]
    expected = -np.sum(np.log((1 - UNIFORM_SHARE) * np.array(factors) + UNIFORM_SHARE), axis=0)
    np.testing.assert_allclose(SPACE.belief.loss(points, active), expected)
    gradient = SPACE.belief.gradient(points, active)
    for index in (0, 1, 7):
        moved = points.copy()
        moved[:, index] += step
        difference = (SPACE.belief.loss(moved, active) - SPACE.belief.loss(points, active)) / step
        np.testing.assert_allclose(gradient[:, index], difference, atol=1e-3)


def test_inactive_parameters_are_not_believed_in():
    space = Space(
        {"optimizer": hpo.Categorical(["sgd", "adam"]), "m": hpo.Continuous(0, 1, prior=0.9, when={"optimizer": "sgd"})}
    )
    encoder = InputEncoder(space)
    points = encoder.snap(np.array([[0.75, 0.1], [0.25, 0.1]]))
    losses = space.belief.loss(points, encoder.active(points))
    assert losses[0] == 0
    assert losses[1] > 0


def test_the_mode_has_the_believed_values_exactly_and_the_middle_of_others():
    assert SPACE.mode == {
        "log": 1e-3, "edge": 0.0, "whole": 3, "listed": 32, "weighted": 32, "category": True, "weights": "b",
        "plain": 0.5,
    }  # fmt: skip


def test_the_first_draw_is_the_mode_and_the_share_of_believed_draws_falls():
    space = Space({"x": hpo.Continuous(0, 1, prior=0.1, confidence="high"), "y": hpo.Continuous(0, 1)})
    assert draw(space, 3, 0) == {"x": 0.1, "y": 0.5}
    near = np.array([abs(draw(space, 3, n)["x"] - 0.1) < 0.2 for n in range(512)])
    assert near[:8].mean() > 0.6 > near[64:].mean()
    assert near[256:].mean() < 0.45


def test_draws_of_a_belief_reach_every_configuration_of_a_finite_space_once():
    space = Space({"a": hpo.Categorical(["x", "y", "z"], prior=[1, 0, 0]), "b": hpo.Integer(1, 5, prior=2)})
    assert len({Space.key(draw(space, 0, n)) for n in range(15)}) == 15


def test_draws_without_a_belief_are_those_of_the_space_without_it():
    plain = {name: parameter.without_belief() for name, parameter in SPACE.items()}
    assert SPACE.without_belief == Space(plain)
    assert not Space(plain).belief


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.Continuous(0, 1, prior=2), "prior must be between 0 and 1"),
        (lambda: hpo.Continuous(0, 1, prior=float("nan")), "prior must be a finite number"),
        (lambda: hpo.Continuous(0, 1, prior="a"), "prior must be a finite number"),
        (lambda: hpo.Continuous(0, 1, step=0.25, prior=0.3), "prior must be 0 plus a multiple"),
        (lambda: hpo.Integer(1, 5, prior=2.5), "prior must be a whole number"),
        (lambda: hpo.Integer(1, 5, prior=True), "prior must be a whole number"),
        (lambda: hpo.Ordinal([1, 2], prior=3), "prior must be one of"),
        (lambda: hpo.Categorical(["a", "b"], prior="c"), "prior must be one of"),
        (lambda: hpo.Categorical([1, 2], prior=True), "prior must be one of"),
        (lambda: hpo.Categorical(["a", "b"], prior=[0.9, 0.9]), "which sum to 1"),
        (lambda: hpo.Categorical(["a", "b"], prior=[1.5, -0.5]), "which sum to 1"),
        (lambda: hpo.Categorical(["a", "b"], prior=[1.0]), "which sum to 1"),
        (lambda: hpo.Categorical(["a", "b"], prior=[float("nan"), 1.0]), "which sum to 1"),
        (lambda: hpo.Categorical(["a", "b"], prior={"a": 1.0}), "which sum to 1"),
        (lambda: hpo.Categorical(["a", "b"], prior={"a": 0.5, "c": 0.5}), "prior must be one of"),
        (lambda: hpo.Categorical(["a", "b"], prior=[0.5, 0.5], confidence="high"), "confidence must be left out"),
        (lambda: hpo.Continuous(0, 1, confidence="high"), "confidence must come with a prior="),
        (lambda: hpo.Continuous(0, 1, prior=0.5, confidence="sure"), "confidence must be 'low', 'medium' or 'high'"),
    ],
)
def test_bad_beliefs_are_refused_when_the_parameter_is_made(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


def test_a_prior_of_a_parameter_that_is_believed_to_be_inactive_is_refused():
    with pytest.raises(hpo.InvalidArgument, match="believed to be inactive: 'o' has weight 0"):
        Space({
            "o": hpo.Categorical(["sgd", "adam"], prior=[0, 1]),
            "m": hpo.Continuous(0, 1, prior=0.9, when={"o": "sgd"}),
        })  # fmt: skip


@pytest.mark.parametrize("name", BELIEVED)
def test_stored_parameters_keep_their_beliefs_and_those_without_store_nothing_of_them(name):
    parameter = BELIEVED[name]
    assert from_json(to_json(parameter), ParameterBase) == parameter
    assert not {"prior", "confidence"} & to_json(parameter.without_belief()).keys()
    assert parameter != parameter.without_belief()
    assert hash(parameter) == hash(from_json(to_json(parameter), ParameterBase))
