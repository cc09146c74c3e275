"""The scales on which the surrogate sees losses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_plugins.modeling.scale import MAX_Z, LogScale

finite = st.floats(-1e300, 1e300)


def test_the_better_half_keeps_its_differences_and_the_tail_shrinks():
    losses = np.concatenate([np.linspace(0, 1, 11), [10.0, 100.0]])
    y = LogScale.of(losses)(losses)
    best, median, tail = y[1] - y[0], y[6] - y[5], y[11] - y[10]
    assert best > median > best / 2.5
    assert tail < 90 * median / 5  # on a linear scale it is 90 times as long
    assert (np.diff(y) >= 0).all()


@pytest.mark.parametrize("losses", [[0.5, 0.5, 0.5], [0.5], [np.nan, 2.0], [0.0, 0.0, 1.0], []])
def test_few_or_equal_losses_have_a_scale(losses):
    losses = np.array(losses, dtype=float)
    scale = LogScale.of(losses)
    assert np.isfinite(scale(np.append(losses, [-3.0, 3.0]))).all()


@given(st.lists(finite, min_size=2, max_size=20), finite)
def test_losses_of_any_size_have_finite_standardised_values_in_their_order(losses, new):
    losses = np.array(losses)
    scale = LogScale.of(losses)
    y = scale(np.sort(np.append(losses, new)))
    assert np.isfinite(y).all()
    assert (np.abs(y) <= MAX_Z).all()
    assert (np.diff(y) >= -1e-9).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20, unique=True))
def test_the_inverse_gives_the_loss_back(losses):
    losses = np.array(losses)
    scale = LogScale.of(losses)
    inside = losses[losses / scale.unit <= scale.limit]
    back = [scale.inverse(float(value)) for value in scale(inside)]
    np.testing.assert_allclose(back, inside, rtol=1e-6, atol=1e-6 * scale.unit)


def test_failed_trials_count_as_the_worst():
    losses = np.array([0.1, 0.2, np.nan, 0.9])
    scale = LogScale.of(losses)
    assert scale(losses)[2] == scale(losses).max() == scale.worst
