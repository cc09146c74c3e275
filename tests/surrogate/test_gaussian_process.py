"""The Gaussian process against closed forms, finite differences and a slow twin."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from hpo_plugins.surrogate.gp import Posterior, cholesky, fit, log_posterior
from hpo_plugins.surrogate.hyperparameters import Layout
from hpo_plugins.surrogate.kernel import MEAN_VARIANCE, covariance, curve_mean, warp

GROUPS = np.array([0, 1, 2, 2, 2, 3])
WARPED = np.array([0, 1, 3])


def made_up(curves, n=25, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.append(GROUPS, 4) if curves else GROUPS
    layout = Layout(groups, np.array([0, 1, 5]), curves)
    theta = layout.start() + 0.3 * rng.standard_normal(layout.size)
    x = rng.random((n, len(groups)))
    if curves:  # trainings of several epochs, one of them complete
        x[1::2, :-1] = x[: n - n % 2 : 2, :-1]
        x[0, -1] = 1
    return layout, theta, x, rng.standard_normal(n)


def slow_covariance(layout, h, a, b):
    """The kernel, written as the module's docstring has it, one pair at a time."""

    def matern(r):
        return (1 + math.sqrt(5) * r + 5 / 3 * r * r) * math.exp(-math.sqrt(5) * r)

    value = h.signal * matern(math.sqrt(sum(((p - q) / s) ** 2 for p, q, s in zip(a, b, h.length, strict=True))))
    if layout.curves:
        value += layout.hyperpriors.improvement_variance * (1 - a[-1]) * (1 - b[-1])
        value += h.time * matern(abs(a[-1] - b[-1]) / h.time_scale)
        value += h.trend * sum((p - 0.5) * (q - 0.5) for p, q in zip(a[:-1], b[:-1], strict=True))
        if (a[:-1] == b[:-1]).all():
            value += h.own * (1 - a[-1]) * (1 - b[-1]) * matern(abs(a[-1] - b[-1]) / h.own_scale)
    return value + MEAN_VARIANCE


both_kinds = pytest.mark.parametrize("curves", [False, True])


@both_kinds
def test_covariance_equals_its_slow_twin(curves):
    layout, theta, x, _ = made_up(curves, n=6)
    h = layout.read(theta)
    z = warp(layout, h, x)
    slow = [[slow_covariance(layout, h, a, b) for b in z] for a in z]
    np.testing.assert_allclose(covariance(layout, h, z, z), slow, rtol=1e-6)
    z[:4, -1] = 1  # candidates, all at the last epoch
    slow = [[slow_covariance(layout, h, a, b) for b in z] for a in z[:4]]
    np.testing.assert_allclose(covariance(layout, h, z[:4], z), slow, rtol=1e-6)


@both_kinds
def test_likelihood_equals_scipys_normal_density(curves):
    layout, theta, x, y = made_up(curves)
    h = layout.read(theta)
    z = warp(layout, h, x)
    k = covariance(layout, h, z, z) + h.noise * np.eye(len(y))
    priors = sum(((t - p.mean) / p.deviation) ** 2 for t, p in zip(theta, layout.priors, strict=True)) / 2
    expected = multivariate_normal.logpdf(y, curve_mean(layout, x), k) + len(y) / 2 * math.log(2 * math.pi) - priors
    assert log_posterior(layout, theta, x, y)[0] == pytest.approx(expected, rel=1e-8)


@both_kinds
def test_gradient_of_the_likelihood_equals_finite_differences(curves):
    layout, theta, x, y = made_up(curves)
    _, gradient = log_posterior(layout, theta, x, y)
    step = 1e-5
    for index, unit in enumerate(np.eye(layout.size) * step):
        above, below = (log_posterior(layout, theta + s * unit, x, y)[0] for s in (1, -1))
        assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-5)


@both_kinds
def test_gradients_equal_finite_differences(curves):
    layout, theta, x, y = made_up(curves)
    posterior = Posterior(layout, theta, x, y)
    at = np.random.default_rng(1).random((5, x.shape[1]))
    _, _, mean_gradient, deviation_gradient = posterior.predict_with_gradient(at)
    for column in range(x.shape[1]):
        step = np.eye(x.shape[1])[column] * 1e-6
        (m1, s1), (m0, s0) = posterior.predict(at + step), posterior.predict(at - step)
        np.testing.assert_allclose(mean_gradient[:, column], (m1 - m0) / 2e-6, atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(deviation_gradient[:, column], (s1 - s0) / 2e-6, atol=1e-5, rtol=1e-4)


@both_kinds
def test_prediction_is_the_conditional_normal(curves):
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, by plain inversion."""
    layout, theta, x, y = made_up(curves, n=10)
    h = layout.read(theta)
    z, q = warp(layout, h, x), np.random.default_rng(1).random((4, x.shape[1]))
    zq = warp(layout, h, q)
    inverse = np.linalg.inv(covariance(layout, h, z, z) + h.noise * np.eye(10))
    cross = covariance(layout, h, zq, z)
    mean, deviation = Posterior(layout, theta, x, y).predict(q)
    expected = curve_mean(layout, q) + cross @ inverse @ (y - curve_mean(layout, x))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-7)
    joint = covariance(layout, h, zq, zq) - cross @ inverse @ cross.T
    np.testing.assert_allclose(deviation, np.sqrt(np.diag(joint)), rtol=1e-4, atol=1e-6)
    _, same, _, between = Posterior(layout, theta, x, y).predict_joint(q, q)
    np.testing.assert_allclose(between, joint, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(same, deviation)


@both_kinds
def test_a_factor_that_is_extended_equals_one_from_scratch(curves):
    layout, theta, x, y = made_up(curves)
    whole = Posterior(layout, theta, x, y)
    for known in (0, 1, 10):
        extended = Posterior(layout, theta, x, y, factor=Posterior(layout, theta, x[:known], y[:known]).factor)
        np.testing.assert_allclose(extended.factor, whole.factor, atol=1e-10)
        np.testing.assert_allclose(extended.predict(x[:5]).mean, whole.predict(x[:5]).mean, atol=1e-8)


def test_conditioning_on_the_mean_repels_and_moves_no_mean():
    layout, theta, x, y = made_up(curves=False)
    posterior = Posterior(layout, theta, x, y)
    new = np.random.default_rng(1).random((3, x.shape[1]))
    told = posterior.condition_on_mean(new)
    at = np.random.default_rng(2).random((20, x.shape[1]))
    (mean, deviation), (mean_told, deviation_told) = posterior.predict(at), told.predict(at)
    np.testing.assert_allclose(mean_told, mean, atol=1e-5)
    assert (deviation_told <= deviation + 1e-9).all()
    assert (told.predict(new)[1] < posterior.predict(new)[1]).all()


def test_fit_finds_what_made_the_data():
    """Only the first input matters: its length scale comes out shorter than the other's, and the noise small."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    y = np.sin(9 * x[:, 0])
    layout = Layout(np.array([0, 1]), np.array([0, 1]), curves=False)
    h = layout.read(fit(layout, x, (y - y.mean()) / y.std()))
    assert h.length[0] < h.length[1] / 3
    assert h.noise < 1e-2


def test_order_of_the_data_is_irrelevant():
    layout, theta, x, y = made_up(curves=True)
    order = np.random.default_rng(3).permutation(len(y))
    at = np.random.default_rng(1).random((5, x.shape[1]))
    one, other = Posterior(layout, theta, x, y).predict(at), Posterior(layout, theta, x[order], y[order]).predict(at)
    np.testing.assert_allclose(one, other, rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 2**31), st.booleans())
def test_awkward_data_is_fitted(n, seed, curves):
    """One point, many equal ones, constant columns, constant losses, an outlier: finite, and inside the bounds."""
    rng = np.random.default_rng(seed)
    layout, _, x, _ = made_up(curves, n=n, seed=seed % 100)
    x = np.round(x * rng.integers(1, 4)) / 3
    y = rng.choice([0.0, 1.0, 5.0], n) * rng.integers(0, 2)
    theta = fit(layout, x, y, max_iter=5)
    assert all(p.low <= t <= p.high for t, p in zip(theta, layout.priors, strict=True))
    mean, deviation = Posterior(layout, theta, x, y).predict(x)
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()


def test_cholesky_adds_as_little_as_it_takes():
    k = np.ones((4, 4))
    factor = cholesky(k)
    np.testing.assert_allclose(factor @ factor.T, k, atol=1e-6)
    with pytest.raises(FloatingPointError, match="contains a NaN"):
        cholesky(np.full((2, 2), np.nan))
