"""The limit of memory is learned from the trials that ran out of it."""

import math
import statistics

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.modeling.memory_limit import MAX_RISK, MemoryLimit
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

LOSS = hpo.Minimize("loss")
SIZES = {"batch_size": hpo.Integer(16, 512, "log"), "width": hpo.Integer(64, 1024, "log")}
SPACES = {
    "logarithmic": SIZES | {"rate": hpo.Continuous(1e-5, 1e-1, "log"), "dropout": hpo.Continuous(0, 0.5)},
    "linear": {"batch_size": hpo.Integer(16, 512, step=16), "width": hpo.Integer(64, 1024)},
    "ordered": {
        "batch_size": hpo.Ordinal([16, 32, 64, 128, 256, 512]),
        "width": hpo.Ordinal([64, 128, 256, 512, 1024]),
        "kind": hpo.Categorical(["a", "b"]),
    },
}


class Allocator:
    """Half of a space's configurations fit into its memory."""

    def __init__(self, space):
        drawn = [draw(Space(space), 99, index) for index in range(min(256, Space(space).size or 256))]
        self.room = statistics.median(self.needed(params) for params in drawn)

    @staticmethod
    def needed(params):
        return params["batch_size"] * params["width"]

    def allocate(self, params):
        if self.needed(params) > self.room:
            raise MemoryError(f"{self.needed(params)} of {self.room} bytes")


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("strategy", [hpo.Bayesian(), hpo.Hyperband(max_resource=9)], ids=["bayesian", "hyperband"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_two_trials_show_where_the_limit_is(space, strategy, seed):
    """Also if the largest configurations would be the best, so that the search leads to the limit."""
    allocator = Allocator(SPACES[space])
    tuner = hpo.Tuner(SPACES[space], LOSS, strategy=strategy, max_trials=30, seed=seed)

    def train(trial):
        allocator.allocate(trial.params)
        for epoch in range(1, 10):
            if trial.report(epoch, {"loss": -math.log(allocator.needed(trial.params)) + 1 / epoch}):
                break

    tuner.run(train)
    assert sum(t.state is hpo.TrialState.FAILED for t in tuner.trials) <= 2
    assert len(tuner.trials) == 30
    assert allocator.needed(tuner.best_trial.params) > 0.5 * allocator.room


def limit_of(space, fits, fails):
    space = Space(space)
    points = [np.array([space.encode(params) for params in each]).reshape(-1, len(space)) for each in (fits, fails)]
    limit = MemoryLimit(space, *points)
    return lambda **params: float(limit.risk(space.encode(params)[None])[0])


def test_what_is_smaller_than_a_trial_that_fits_has_little_risk_and_what_is_larger_than_a_failure_much():
    risk = limit_of(SIZES, [{"batch_size": 64, "width": 256}], [{"batch_size": 128, "width": 512}])
    assert risk(batch_size=32, width=128) < MAX_RISK < 0.8 < risk(batch_size=256, width=1024)
    assert risk(batch_size=64, width=256) < MAX_RISK / 10
    assert risk(batch_size=128, width=512) > 0.9


def test_products_are_the_first_guess():
    """A failure of a large batch says as much about a large width."""
    risk = limit_of(SIZES, [{"batch_size": 90, "width": 256}], [{"batch_size": 512, "width": 256}])
    assert risk(batch_size=90, width=1024) > 5 * risk(batch_size=90, width=270)


def test_parameter_that_needs_less_memory_the_larger_it_is_can_be_learned():
    space = {"stages": hpo.Integer(1, 64, "log"), "rate": hpo.Continuous(1e-4, 1, "log")}
    fits = [{"stages": 32, "rate": 1e-3}, {"stages": 64, "rate": 0.5}, {"stages": 30, "rate": 0.1}]
    fails = [{"stages": 2, "rate": 1e-3}, {"stages": 1, "rate": 0.3}]
    risk = limit_of(space, fits, fails)
    assert risk(stages=48, rate=1e-2) < 0.1 < 0.9 < risk(stages=1, rate=1e-2)


def test_contradictions_and_conditions_do_no_harm():
    space = {
        "on": hpo.Categorical([True, False]),
        "width": hpo.Integer(1, 9, when={"on": True}),
        "one": hpo.Integer(1, 1),
    }
    same = {"on": True, "width": 5, "one": 1}
    risk = limit_of(space, [same], [same])
    for params in (same, {"on": False, "one": 1}):
        assert 0.0 <= risk(**params) <= 1.0


def test_search_without_such_failures_is_the_same():
    def tried(fails):
        tuner = hpo.Tuner(SIZES, LOSS, strategy=hpo.Bayesian(), max_trials=14, seed=0)
        for trial in tuner:
            if fails and trial.number == 2:
                trial.fail(RuntimeError("another reason"))
            elif trial.number == 2:
                trial.fail("a reason in words")
            else:
                trial.report(1, {"loss": float(trial["width"])})
        return [t.params for t in tuner.trials]

    assert tried(fails=True) == tried(fails=False)
