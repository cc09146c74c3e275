"""What several test files need: both storages, and a search that is cheap to run."""

import logging
import math

import pytest

import hpo_plugins as hpo


@pytest.fixture(autouse=True)
def no_defect_is_swallowed(caplog):
    """A judge that stumbles is logged as an error, for the training to go on: here, that is a failure."""
    yield
    assert not [r for r in caplog.get_records("call") if r.name == "hpo_plugins" and r.levelno >= logging.ERROR]


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    """A storage of each kind: None for memory, the path of a new file."""
    return None if request.param == "memory" else tmp_path / "study.db"


@pytest.fixture
def space():
    """A mixed space."""
    return {
        "eta": hpo.Continuous(1e-4, 1.0, scale="log"),
        "depth": hpo.Integer(1, 8),
        "kind": hpo.Categorical(["a", True, 1, 1.0, None]),
    }


def curve(params, epochs):
    """The loss of a made-up training after each epoch: better near eta = 0.01, falling like 1 / epoch."""
    floor = abs(math.log10(params["eta"]) + 2) + 0.05 * params["depth"]
    return [floor + 1 / epoch for epoch in range(1, epochs + 1)]


def train(trial, epochs=27):
    """Run the made-up training inside a trial; return the epochs that were trained."""
    for epoch, loss in enumerate(curve(trial.params, epochs), start=1):
        if trial.report(epoch, {"loss": loss, "lr": 0.1}):
            return epoch
    return epochs


@pytest.fixture(name="train")
def train_fixture():
    """The made-up training."""
    return train
