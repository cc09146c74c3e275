"""Expected improvement and the knowledge gradient against closed forms and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.surrogate.acquisition import (
    knowledge_gradient,
    log_expected_improvement,
    log_h,
    probability_of_improvement,
)
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.optimize import AcquisitionOptimizer

# log h(z) to 60 digits (mpmath), rounded.
EXACT = {
    5.0: 1.6094379231264313,
    0.0: -0.9189385332046728,
    -0.999: -2.4832171154475855,
    -1.5: -3.52993592080571,
    -5.0: -16.74430116266099,
    -20.0: -206.9178385094251,
    -51.0: -1309.283741653038,
    -1000.0: -500014.73445209116,
}


@pytest.mark.parametrize(("z", "exact"), EXACT.items())
def test_log_h_is_exact_where_h_underflows(z, exact):
    assert log_h(np.array([z]))[0] == pytest.approx(exact, rel=1e-8)


@given(st.floats(-1e9, 30), st.floats(1e-6, 10))
def test_log_h_rises(z, more):
    low, high = log_h(np.array([z, z + more]))
    assert high > low or z < -1e6


def test_expected_improvement_is_the_integral():
    mean, deviation, best = 0.3, 0.7, 0.1
    losses = np.linspace(-8, best, 200_001)
    integral = np.trapezoid((best - losses) * norm.pdf(losses, mean, deviation), losses)
    (found,) = np.exp(log_expected_improvement(np.array([mean]), np.array([deviation]), best))
    assert found == pytest.approx(integral, rel=1e-6)
    assert probability_of_improvement(np.array([mean]), np.array([deviation]), best)[0] == pytest.approx(
        norm.cdf(best, mean, deviation)
    )


def test_knowledge_gradient_has_a_closed_form_for_two():
    """E[min(a, b + s Z)] is min(a, b) less EI (Frazier et al. 2009, equation 14)."""
    alone = knowledge_gradient(np.array([0.4]), np.array([[0.3]]), np.array([0.3]), 0.0)
    assert alone[0] == pytest.approx(0, abs=1e-12)
    shift = 0.5
    found = knowledge_gradient(np.array([0.0, 0.4]), np.array([[0.0, shift]]), np.array([1.0]), 0.0)
    z = -0.4 / shift
    assert found[0] == pytest.approx(shift * (norm.pdf(z) + z * norm.cdf(z)), rel=0.1)


def test_knowledge_gradient_agrees_with_simulation():
    rng = np.random.default_rng(0)
    mean, between, deviation = rng.normal(size=8), rng.normal(size=(5, 8)) * 0.5, np.full(5, 0.8)
    z = rng.standard_normal(400_000)
    shifts = between / math.sqrt(0.8**2 + 0.01)
    slow = [mean.min() - (mean[:, None] + s[:, None] * z).min(axis=0).mean() for s in shifts]
    np.testing.assert_allclose(knowledge_gradient(mean, between, deviation, 0.01), slow, rtol=0.15)


SPACE = Space(
    {
        "rate": hpo.Continuous(1e-4, 1.0, scale="log"),
        "depth": hpo.Integer(1, 9),
        "width": hpo.Integer(1, 4096, scale="log"),
        "kind": hpo.Categorical(["a", "b", "c"]),
        "fixed": hpo.Categorical(["only"]),
    }
)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_snap_is_what_the_training_sees(u):
    points = InputEncoder(SPACE).snap(np.array([u]))
    np.testing.assert_allclose(points[0], SPACE.encode(SPACE.decode(u)), atol=1e-9)
    np.testing.assert_allclose(InputEncoder(SPACE).snap(points), points, atol=1e-9)


def test_any_two_categories_are_at_distance_one():
    encoder = InputEncoder(SPACE)
    points = np.array([SPACE.encode({"rate": 0.1, "depth": 2, "width": 8, "kind": k, "fixed": "only"}) for k in "abc"])
    x = encoder.inputs(points)
    assert x.shape == (3, encoder.columns) == (3, 6)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(x[i] - x[j]) == pytest.approx(1)


def make_optimizer(space, losses, seed=0, *, cautious=False):
    encoder = InputEncoder(space)
    points = encoder.snap(np.random.default_rng(seed).random((len(losses), len(space))))
    layout = encoder.layout(curves=False)
    y = np.asarray(losses, dtype=float)
    posterior = Posterior(layout, layout.start(), encoder.inputs(points), y)
    return AcquisitionOptimizer(
        encoder, posterior, float(y.min()), log_fidelity=None, cautious=cautious, rng=np.random.default_rng(seed)
    ), points


def test_optimizer_beats_ten_thousand_random_points():
    optimizer, points = make_optimizer(SPACE, np.random.default_rng(1).standard_normal(12))
    found, log_improvement = optimizer.run(points[:5], points)
    values = optimizer.value(found)
    np.testing.assert_allclose(log_improvement, values)
    random = InputEncoder(SPACE).snap(np.random.default_rng(2).random((10_000, len(SPACE))))
    assert values[0] >= optimizer.value(random).max() - 1e-3
    assert (np.diff(values) <= 1e-8).all()


def test_a_cautious_search_does_not_go_to_corners():
    """Few losses that fall towards one corner: expected improvement is largest there."""
    space = Space({name: hpo.Continuous(0, 1) for name in "abcdef"})
    points = np.random.default_rng(0).random((5, 6))
    at_bounds = []
    for cautious in (False, True):
        optimizer, points = make_optimizer(space, np.linspace(0, 1, 5), cautious=cautious)
        best = optimizer.run(points, points).points[0]
        at_bounds.append(int(((best == 0) | (best == 1)).sum()))
    assert at_bounds[0] >= 3
    assert at_bounds[1] == 0


def test_optimizer_returns_every_new_point_of_a_small_space():
    space = Space({"a": hpo.Integer(1, 5), "b": hpo.Categorical(["x", "y"])})
    optimizer, points = make_optimizer(space, [1.0, 0.0, 0.5])
    found = optimizer.run(points, points).points
    taken = {Space.key(space.decode(p)) for p in points}
    keys = [Space.key(space.decode(p)) for p in found]
    assert len(keys) == len(set(keys)) == 10 - len(taken)
    assert taken.isdisjoint(keys)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_found_points_decode_to_themselves(seed):
    optimizer, points = make_optimizer(SPACE, np.random.default_rng(seed).standard_normal(6), seed)
    found = optimizer.run(points[:2], points).points
    for point in found[:20]:
        np.testing.assert_allclose(SPACE.encode(SPACE.decode(point)), point, atol=1e-9)
