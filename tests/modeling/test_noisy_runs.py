"""The expected loss of a new training run, when training runs of one configuration differ."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

import hpo_plugins as hpo
from hpo_plugins.modeling import noisy_runs
from hpo_plugins.modeling.noisy_runs import NORMAL_90, expected_loss, scales_of
from hpo_plugins.space import Space
from hpo_plugins.surrogate.encoding import InputEncoder

SPACE = Space({"x": hpo.Continuous(0, 1, scale="linear"), "y": hpo.Continuous(0, 1, scale="linear")})


def points(count, seed, space=SPACE):
    return qmc.Sobol(len(space), seed=seed).random(64)[:count]


def true_loss(u):
    return ((u - 0.4) ** 2).sum(axis=-1)


def noisy(count, noise, seed):
    u, rng = points(count, seed), np.random.default_rng(seed)
    return u, true_loss(u) + noise * rng.normal(size=count), rng


def test_intervals_cover_new_training_runs_and_the_seen_value_promises_too_much():
    inside, bias, luck, noise = [], [], [], 0.1
    for seed in range(60):
        u, losses, rng = noisy(24, noise, seed)
        best = int(losses.argmin())
        mean, std = expected_loss(SPACE, u, losses, best)
        again = true_loss(u[best]) + noise * rng.normal(size=50)
        inside.append(np.mean(np.abs(again - mean) <= NORMAL_90 * std))
        bias.append(true_loss(u[best]) - mean)
        luck.append(true_loss(u[best]) - losses[best])
    assert 0.7 <= statistics.mean(inside) <= 0.98
    assert statistics.mean(luck) > noise / 2
    assert abs(statistics.mean(bias)) < statistics.mean(luck) / 2


@pytest.mark.parametrize("count", [20, 40, 64])
def test_exact_training_runs_are_expected_as_they_were_seen(count):
    u = points(count, seed=1)
    losses = true_loss(u)
    best = int(losses.argmin())
    assert expected_loss(SPACE, u, losses, best) == (losses[best], 0.0)


def test_more_noise_means_a_wider_interval():
    stds = []
    for noise in (0.02, 0.1):
        u, losses, _ = noisy(32, noise, seed=3)
        stds.append(expected_loss(SPACE, u, losses, int(losses.argmin()))[1])
    assert 0 < stds[0] < stds[1]


def test_repeated_configurations_show_the_noise():
    """Ten values of one configuration: the expectation is near their mean, not near the best of them."""
    u, rng = points(16, seed=5), np.random.default_rng(5)
    u = np.concatenate([u, np.repeat([[0.4, 0.4]], 10, axis=0)])
    losses = np.append(true_loss(u[:16]) + 0.5, 0.2 + 0.05 * rng.normal(size=10))
    best = int(losses.argmin())
    mean, std = expected_loss(SPACE, u, losses, best)
    assert abs(mean - losses[16:].mean()) < abs(mean - losses[best])
    assert 0.03 < std < 0.15


@pytest.mark.parametrize(("factor", "shift"), [(1e-9, 0.0), (1e6, 0.0), (1.0, 100.0), (3.0, -7.0)])
def test_expectation_follows_the_unit_of_losses(factor, shift):
    u, losses, _ = noisy(20, 0.05, seed=2)
    best = int(losses.argmin())
    mean, std = expected_loss(SPACE, u, losses, best)
    changed = expected_loss(SPACE, u, factor * losses + shift, best)
    assert changed == pytest.approx((factor * mean + shift, factor * std), rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=6, max_size=12).filter(lambda losses: len({*losses}) > 1))
def test_losses_of_any_size_have_a_finite_expectation_or_none(losses):
    losses = np.array(losses)
    found = expected_loss(SPACE, points(len(losses), seed=0), losses, int(losses.argmin()))
    assert found is None or (math.isfinite(found[0]) and 0 <= found[1] < math.inf)


def test_one_very_bad_loss_changes_little():
    u, losses, _ = noisy(20, 0.05, seed=4)
    best = int(losses.argmin())
    mean, std = expected_loss(SPACE, u, losses, best)
    losses[int(losses.argmax())] = 1e30
    changed = expected_loss(SPACE, u, losses, best)
    assert abs(changed[0] - mean) < std
    assert changed[1] < 3 * std


def test_scales_differ_in_how_far_differences_keep_their_size():
    slopes = []
    for scale in scales_of(np.linspace(0, 1, 33)):
        near, far = (np.ptp(scale(np.array([at, at + 0.01]))) for at in (0.0, 0.9))
        slopes.append(near / far)
    assert slopes[0] > slopes[1] > slopes[2] > 1


def test_evidence_is_that_of_losses_on_every_scale():
    """Losses that are normal on a linear scale speak for it, and those that are log-normal for the log scale."""
    rng, u = np.random.default_rng(0), points(64, seed=0)
    normal = rng.normal(size=64)
    for losses, best in ((normal, 2), (np.exp(2 * normal), 0)):
        encoder = InputEncoder(SPACE)
        x, layout = encoder.inputs(encoder.snap(u)), encoder.layout(curves=False).with_noise(math.log(0.9))
        evidence = [noisy_runs._level(layout, scale, x, losses, 0)[0] for scale in scales_of(losses)]
        assert int(np.argmax(evidence)) == best


def test_the_interval_of_a_mixture_holds_nine_tenths_of_it():
    weights, means, deviations = np.array([0.6, 0.3, 0.1]), np.array([0.0, 1.0, 30.0]), np.array([1.0, 2.0, 9.0])
    median, deviation = noisy_runs.mixture_interval(weights, means, deviations)
    rng = np.random.default_rng(0)
    part = rng.choice(3, p=weights, size=200_000)
    losses = rng.normal(means[part], deviations[part])
    assert median == pytest.approx(np.median(losses), abs=0.02)
    assert np.mean(np.abs(losses - median) <= NORMAL_90 * deviation) == pytest.approx(0.9, abs=0.005)


def test_one_normal_distribution_is_its_own_mixture():
    found = noisy_runs.mixture_interval(np.ones(1), np.array([2.0]), np.array([0.5]))
    assert found == pytest.approx((2.0, 0.5), rel=1e-3)


def test_laplace_s_approximation_is_exact_without_data():
    """Then the density of theta is its prior: the evidence does not depend on the priors' deviations."""
    layout = InputEncoder(SPACE).layout(curves=False).with_noise(-2.0)
    theta = np.array([prior.mean for prior in layout.priors])
    x, y = np.empty((0, 2)), np.empty(0)
    curvature = sum(math.log(prior.deviation**-2) for prior in layout.priors if prior.low < prior.high)
    assert noisy_runs.log_evidence(layout, theta, x, y) == pytest.approx(-0.5 * curvature, abs=1e-6)


def test_expectation_of_many_trials_is_computed_from_the_best(monkeypatch):
    u, losses, _ = noisy(64, 0.05, seed=6)
    best = int(losses.argmin())
    monkeypatch.setattr(noisy_runs, "MAX_RUNS", 30)
    expected_loss.cache.clear()
    kept = np.sort(np.argsort(losses, kind="stable")[:30])
    found = expected_loss(SPACE, u, losses, best)
    assert found == pytest.approx(expected_loss(SPACE, u[kept], losses[kept], int(losses[kept].argmin())), rel=1e-3)
