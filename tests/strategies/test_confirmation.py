"""The probability to be the best, against closed forms and a slow twin."""

import numpy as np
import pytest
from scipy import stats

import hpo_plugins as hpo
from hpo_plugins.space.finalists import FinalistSpace
from hpo_plugins.strategies.confirmation import probabilities
from hpo_plugins.study.confirmation import ClearlyBest, confirmation_name, confirmations_of, is_confirmation
from hpo_plugins.study.stored import from_json, to_json


def drawn(losses, draws=400_000):
    """The same probability from draws of sigma and the means."""
    rng = np.random.default_rng(0)
    n = np.array([len(own) for own in losses])
    squares = sum(np.sum((np.array(own) - np.mean(own)) ** 2) for own in losses)
    sigma = np.sqrt(squares / rng.chisquare(n.sum() - len(n), draws))
    mu = np.array([np.mean(own) for own in losses]) + sigma[:, None] / np.sqrt(n) * rng.normal(size=(draws, len(n)))
    return np.bincount(mu.argmin(axis=1), minlength=len(n)) / draws


@pytest.mark.parametrize("seed", range(6))
def test_probabilities_are_those_of_draws(seed):
    rng = np.random.default_rng(seed)
    losses = [list(rng.normal(rng.normal() * 0.7, 1, size=rng.integers(2, 7))) for _ in range(rng.integers(2, 5))]
    assert probabilities(losses) == pytest.approx(drawn(losses), abs=0.02)


def test_two_finalists_have_the_probability_of_students_t():
    a, b = [1.0, 1.4, 0.8], [1.5, 1.1, 1.6]
    pooled = (np.var(a, ddof=1) + np.var(b, ddof=1)) / 2
    t = (np.mean(b) - np.mean(a)) / np.sqrt(pooled * 2 / 3)
    assert probabilities([a, b])[0] == pytest.approx(stats.t(4).cdf(t), abs=0.005)


def test_order_scale_and_offset_do_not_matter():
    losses = [[1.0, 1.2], [1.1, 1.5, 1.3], [0.9, 1.6]]
    p = probabilities(losses)
    assert probabilities(losses[::-1]) == pytest.approx(p[::-1])
    assert probabilities([[5 + 100 * loss for loss in own] for own in losses]) == pytest.approx(p)


def test_unknown_and_vanishing_noise():
    assert list(probabilities([[], []])) == [0.5, 0.5]
    assert list(probabilities([[1.0], [2.0]])) == [0.5, 0.5]
    assert list(probabilities([[1.0, 1.0], [2.0, 2.0]])) == [1, 0]
    assert list(probabilities([[1.0, 1.0], [1.0, 1.0]])) == [0.5, 0.5]
    assert list(probabilities([[1.0, 1.1], [], [0.9, 1.0]]))[1] == 0


def test_space_of_finalists_is_stored_and_gives_their_configurations():
    space = FinalistSpace({7: {"x": 0.5, "k": None}, 3: {"x": 1.5, "k": "a"}}, 4)
    assert space.size == 8
    assert space.params_of({"finalist": 3, "repeat": 2}) == {"x": 1.5, "k": "a"}
    again = from_json(to_json(space), hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("l")).space.__class__)
    assert isinstance(again, FinalistSpace)
    assert again.finalists == space.finalists
    assert again.repeats == 4


@pytest.mark.parametrize("damage", [{"repeats": 4}, {"finalists": 3, "repeats": 4}, {"finalists": {}, "repeats": 0}])
def test_damaged_space_is_refused(damage):
    with pytest.raises(hpo.HpoError, match=r"finalists|repeats|Expected|values|high"):
        from_json(damage, FinalistSpace.__base__)


def test_names_of_confirmations_are_recognized():
    name = confirmation_name("a", [3, 7])
    names = ["a", name, "a (confirms", "b", confirmation_name("a b", [1])]
    assert confirmations_of("a", names) == [name]
    assert is_confirmation(name, names)
    assert not is_confirmation("a", names)
    assert not is_confirmation(name, [name])


@pytest.mark.parametrize("confidence", [0.4, 1, "high", True, None])
def test_bad_confidence_is_named(confidence):
    with pytest.raises(hpo.InvalidArgument, match="confidence must be"):
        ClearlyBest(confidence)
