"""Studies that every view must show: ordinary ones, and those at the edges."""

import math

import numpy as np
import pytest

import hpo_plugins as hpo

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")


def searched(storage=None, name="demo", trials=50, epochs=27):
    """A Hyperband search in which eta matters most, depth a little, and noise not at all."""
    space = {
        "eta": hpo.Continuous(1e-3, 0.5, scale="log", prior=0.1),
        "depth": hpo.Integer(2, 12, prior=4, confidence="low"),
        "kind": hpo.Categorical(["a", "<script>alert(1)</script>"]),
        "noise": hpo.Continuous(0, 1),
    }
    tuner = hpo.Tuner(
        space, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=epochs), max_trials=trials, seed=0,
        storage=storage, name=name,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for trial in tuner:
        floor = abs(math.log10(trial["eta"]) + 1.2) * 0.3 + 0.02 * abs(trial["depth"] - 6)
        for epoch in range(1, epochs + 1):
            if trial.report(epoch, {"val_loss": 0.1 + floor + 0.8 / epoch**0.7 + 0.01 * rng.normal()}):
                break
    return tuner


def plain(space, losses, **arguments):
    """A random search whose trials have these losses by epoch."""
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), seed=0, max_trials=max(1, len(losses)), **arguments)
    for trial, curve in zip(tuner, losses, strict=False):
        for epoch, loss in enumerate(curve, start=1):
            trial.report(epoch, {"loss": loss})
    return tuner


X = {"x": hpo.Continuous(0, 1)}


def _running():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9, seed=0)
    tuner.ask().report(1, {"loss": 1.0})
    tuner.ask()
    return tuner


def _folded():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), strategy=hpo.Hyperband(max_resource=3), max_trials=9, seed=0)
    for trial in tuner:
        for fold in trial.folds(3):
            for epoch in (1, 2, 3):
                if fold.report(epoch, {"loss": trial["x"] + fold.number + 1 / epoch}):
                    break
    return tuner


LONG = "n" * 200
EDGES = {
    "empty": lambda: hpo.Tuner(X, hpo.Minimize("loss")),
    "one trial": lambda: plain(X, [[1.0]]),
    "all failed": lambda: plain(X, [[math.nan]] * 3),
    "running": _running,
    "thirty parameters": lambda: plain(
        {f"p{n}": hpo.Continuous(0, 1) for n in range(30)}, [[float(n)] for n in range(12)]
    ),
    "names": lambda: plain(
        {
            LONG: hpo.Continuous(0, 1),
            "学习率": hpo.Continuous(0, 1),
            "$x_1$": hpo.Integer(0, 3),
            "معدل": hpo.Categorical([1, "1"]),
        },
        [[float(n)] for n in range(12)],
    ),
    "mixed types": lambda: plain(
        {"kind": hpo.Categorical([True, 1, 1.0, None, "None"])}, [[1.0], [2.0], [3.0], [4.0], [5.0]]
    ),
    "tiny values": lambda: plain(X, [[1e-300 * (n + 1), 1e-308] for n in range(12)]),
    "constant": lambda: plain(X, [[1.0, 1.0]] * 12),
    "folds": _folded,
}


@pytest.fixture(scope="session")
def demo():
    """An ordinary search, to be read only."""
    return searched()


@pytest.fixture(scope="session")
def goals_demo():
    """A search with two objectives and a limit, to be read only."""
    space = {"width": hpo.Continuous(0, 1), "kind": hpo.Categorical(["a", "<script>alert(1)</script>"])}
    tuner = hpo.Tuner(
        space, [hpo.Minimize("loss"), hpo.Minimize("latency")], strategy=hpo.Hyperband(max_resource=9), max_trials=20,
        seed=0, constraints=[hpo.AtMost("latency", 40)], name="goals",
    )  # fmt: skip
    for trial in tuner:
        for epoch in range(1, 10):
            loss = (1 - trial["width"]) ** 2 + 1 / epoch
            if trial.report(epoch, {"loss": loss, "latency": 10 + 40 * trial["width"]}):
                break
    return tuner


@pytest.fixture(params=EDGES.values(), ids=list(EDGES))
def edge(request):
    """A study at an edge."""
    return request.param()
