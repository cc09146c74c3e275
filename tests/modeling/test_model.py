"""When the hyperparameters of the surrogate are learned again, and from what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.modeling import model
from hpo_plugins.modeling.observations import Observations, curves_of_some

SPACE = {"x": hpo.Continuous(0, 1), "y": hpo.Continuous(0, 1)}


@pytest.fixture
def fits(monkeypatch):
    """Return the number of observations of each fit."""
    found = []

    def counted(layout, x, y, **options):
        found.append(len(y))
        return model_fit(layout, x, y, **options)

    model_fit = model.fit
    monkeypatch.setattr(model, "fit", counted)
    return found


def searched(strategy, max_trials, seed):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=strategy, max_trials=max_trials, seed=seed)
    for trial in tuner:
        for epoch in range(1, 10):
            if trial.report(epoch, {"loss": (trial["x"] - 0.3) ** 2 + trial["y"] + 1 / epoch}):
                break
    return [trial.params for trial in tuner.trials]


@pytest.mark.parametrize("strategy", [hpo.Bayesian(), hpo.Hyperband(max_resource=9)], ids=["values", "curves"])
def test_hyperparameters_are_learned_once_for_an_eighth_more_trials(strategy, fits):
    searched(strategy, 64, seed=17)
    assert 0 < len(fits) <= 15 + 8 + 8
    assert fits == sorted(fits)


def test_what_is_kept_changes_no_choice(fits):
    whole = searched(hpo.Bayesian(), 30, seed=18)
    model._fit.cache.clear()
    model._learn.cache.clear()
    assert searched(hpo.Bayesian(), 30, seed=18) == whole
    assert len(fits) % 2 == 0


@given(st.lists(st.integers(1, 6), min_size=1, max_size=300), st.integers(6, 200))
def test_they_come_from_whole_curves_of_all_parts_of_a_study_whatever_its_losses(lengths, count):
    """Learned from the best trials alone, they would fit the best trials alone."""
    trial = np.repeat(np.arange(len(lengths)), lengths)
    epoch = np.concatenate([np.arange(1, length + 1) for length in lengths])
    observed = Observations(trial, epoch, np.full(len(trial), np.nan), np.ones(len(trial), dtype=bool))
    kept = curves_of_some(observed, count)
    assert len(kept) == min(count, len(trial))
    assert (np.diff(kept) > 0).all()
    chosen, n_kept = np.unique(trial[kept], return_counts=True)
    assert (n_kept < np.array(lengths)[chosen]).sum() <= 1
    gaps = np.diff(chosen, prepend=-1, append=len(lengths))
    assert gaps.max() <= 3 * (len(lengths) + 1) / len(chosen) + 1
