"""Four real training runs that are trained while a strategy searches, on data that packages ship.

    xgb_affairs   XGBoost on a survey (statsmodels, fair); log loss                              50 epochs of 4 rounds
    xgb_digits    XGBoost on digits (scikit-learn); log loss                                     50 epochs of 2 rounds
    mlp_digits    a network on digits; accuracy                                                  50 epochs
    gru_text      a GRU that predicts characters of Python's licence; nats a character           40 epochs

Runs are kept (``recorded_runs.py``). An epoch's seconds come from a model that was fitted to measured CPU time, linear
in the scaled parameters and their squares, so that simulated time is the same on every machine. Some parameters play a
part only beside certain values of others (``momentum``: SGD), as in spaces that people write without conditions.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.problems.numpy_networks import Network, Value
from benchmarks.problems.recorded_runs import RecordedRuns, Values, key
from hpo_plugins.space import Parameter

KNOWN = json.loads(Path(__file__).with_name("real_trainings.json").read_text())
"""Of each task: the best value of more than a thousand runs and the median of 320 random ones, larger is better; the
mean seconds of a full training run; coefficients and range of the logarithm of an epoch's seconds."""
LICENCE = Path(__file__).with_name("python_licence.txt")
BATCH_SIZE = 64
"""The batch size that a user of a shipped space would name."""
Params = dict[str, Any]
Part = tuple[NDArray[Any], NDArray[Any]]


def log(low: float, high: float) -> hpo.Continuous:
    """Return a parameter on a log scale."""
    return hpo.Continuous(low, high, scale="log")


def linear(low: float, high: float) -> hpo.Continuous:
    """Return a parameter on a linear scale."""
    return hpo.Continuous(low, high, scale="linear")


def parts(x: NDArray[Any], y: NDArray[Any], sizes: tuple[int, int], seed: int) -> tuple[Part, Part]:
    """Return shuffled rows for training and for validation."""
    order = np.random.default_rng(seed).permutation(len(x))
    first, second = order[: sizes[0]], order[sizes[0] : sum(sizes)]
    return (x[first], y[first]), (x[second], y[second])


# XGBoost


def boosted(
    params: Params, seed: int, data: tuple[Part, Part], rounds: int, every: int, extra: Params
) -> Iterator[float]:
    """Yield the loss with its sign changed, every few rounds."""
    import xgboost as xgb

    train, validation = (xgb.DMatrix(x, y, nthread=1) for x, y in data)
    fixed = {"tree_method": "hist", "nthread": 1, "seed_per_iteration": True, "verbosity": 0, "max_bin": 64}
    own = {**params, **fixed, "seed": seed % 2**31, **extra}
    if own["grow_policy"] == "depthwise":
        del own["max_leaves"]
    booster = xgb.Booster(own, [train, validation])
    for number in range(rounds):
        booster.update(train, number)
        if (number + 1) % every == 0:
            yield -float(booster.eval_set([(validation, "validation")], number).rpartition(":")[2])


XGBOOST: dict[str, Parameter] = {
    "eta": log(0.005, 1.0), "max_depth": hpo.Integer(1, 10, scale="linear"), "min_child_weight": log(0.1, 50),
    "subsample": linear(0.3, 1.0), "colsample_bytree": linear(0.3, 1.0), "lambda": log(1e-3, 100),
    "gamma": log(1e-4, 10), "grow_policy": hpo.Categorical(["depthwise", "lossguide"]),
    "max_leaves": hpo.Integer(4, 64, scale="log"),
}  # fmt: skip


@functools.cache
def affairs() -> tuple[Part, Part]:
    """Return the survey: 1,500 rows for training, 1,500 for validation."""
    import statsmodels.api as sm

    table = sm.datasets.fair.load_pandas().data
    target = (table.pop("affairs").to_numpy() > 0).astype(np.float32)
    return parts(table.to_numpy(np.float32), target, (1500, 1500), seed=0)


@functools.cache
def raw_digits() -> tuple[Part, Part]:
    """Return digits: 500 for training, 500 for validation."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return parts(x.astype(np.float32), y.astype(np.float32), (500, 500), seed=0)


# Networks

SCHEDULES = ["constant", "cosine", "onecycle", "step"]


def schedule_factor(name: str, spent: float, step_at: float | None = None) -> float:
    """Return the factor of the learning rate.

    Args:
        name: Of the schedule.
        spent: Which part of the full training run is over, from 0 to 1.
        step_at: Where ``step`` divides the rate by ten; ``None``: at 0.6 and at 0.85.
    """
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * spent))
    if name == "onecycle":
        rising = 0.04 + 0.96 * spent / 0.3
        return rising if spent < 0.3 else 0.5 * (1 + math.cos(math.pi * (spent - 0.3) / 0.7))
    if name == "step":
        if step_at is not None:
            return 1.0 if spent < step_at else 0.1
        return 1.0 if spent < 0.6 else 0.1 if spent < 0.85 else 0.01
    return 1.0


Model = Callable[[NDArray[Any]], Value]


def network(
    params: Params,
    seed: int,
    data: tuple[Part, Part],
    epochs: int,
    build: Callable[[Params, Network], Model],
    score: Callable[[Network, Value, NDArray[Any]], float],
) -> Iterator[float]:
    """Yield the validation score after each epoch; the last one is NaN if the outputs are no longer finite.

    Args:
        params: ``lr``, ``schedule``, ``batch_size``, ``weight_decay``, and those of the optimiser and of ``build``.
        seed: Of weights and order.
        data: For training and validation.
        epochs: Of a full training run.
        build: Makes the model with the parameters of a network.
        score: Of outputs and classes; larger is better.
    """
    net = Network(rng := np.random.default_rng(seed))
    model = build(params, net)
    net.pack()
    (x, y), (vx, vy) = data
    size, done = params["batch_size"], 0
    steps = max(1, len(x) // size)
    for _ in range(epochs):
        net.is_training, order = True, rng.permutation(len(x))
        with np.errstate(all="ignore"):
            for number in range(steps):
                rows = order[number * size : (number + 1) * size]
                factor = schedule_factor(params["schedule"], done / (steps * epochs), params.get("step_at"))
                net.cross_entropy(model(x[rows]), y[rows])
                net.backward()
                if params.get("optimizer") == "sgd":
                    net.sgd(params["lr"] * factor, params["momentum"], params["weight_decay"])
                else:
                    net.adamw(params["lr"] * factor, params.get("beta1", 0.9), params["weight_decay"])
                done += 1
            net.is_training = False
            outputs = model(vx)
            value = score(net, outputs, vy) if np.isfinite(outputs.data).all() else math.nan
        yield value
        if math.isnan(value):
            return


MLP: dict[str, Parameter] = {
    "lr": log(3e-4, 1.0), "optimizer": hpo.Categorical(["sgd", "adam"]), "momentum": linear(0.0, 0.99),
    "weight_decay": log(1e-6, 0.1), "batch_size": hpo.Integer(16, 256, scale="log"),
    "width": hpo.Integer(8, 128, scale="log"), "layers": hpo.Integer(1, 3, scale="linear"),
    "dropout": linear(0.0, 0.7), "schedule": hpo.Categorical(SCHEDULES),
}  # fmt: skip


@functools.cache
def digits() -> tuple[Part, Part]:
    """Return standardised digits: 600 for training, 500 for validation."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    (train, classes), (validation, theirs) = parts((x / 16).astype(np.float32), y.astype(np.int64), (600, 500), seed=1)
    mean, deviation = train.mean(0), train.std(0) + 1e-8
    return ((train - mean) / deviation, classes), ((validation - mean) / deviation, theirs)


def perceptron(params: Params, net: Network) -> Model:
    """Return a network of digits with hidden layers of ``width`` units."""
    sizes = [64, *[params["width"]] * params["layers"], 10]
    layers = [(net.parameter((2 / a) ** 0.5, a, b), net.parameter(0, b)) for a, b in itertools.pairwise(sizes)]

    def model(x: NDArray[Any]) -> Value:
        y = Value(x)
        for number, layer in enumerate(layers[:-1]):
            y = net.dropout(net.relu(net.linear(y, *layer, inner=number > 0)), params["dropout"])
        return net.linear(y, *layers[-1])

    return model


GRU: dict[str, Parameter] = {
    "lr": log(1e-4, 0.3), "beta1": linear(0.0, 0.98), "weight_decay": log(1e-6, 1.0),
    "batch_size": hpo.Integer(32, 160, scale="log"), "hidden": hpo.Integer(8, 48, scale="log"),
    "embedding": hpo.Integer(4, 32, scale="log"), "dropout": linear(0.0, 0.6),
    "schedule": hpo.Categorical(SCHEDULES), "step_at": linear(0.2, 0.9),
}  # fmt: skip
LENGTH = 12
"""Characters of a row of text."""


@functools.cache
def characters() -> tuple[int, tuple[Part, Part]]:
    """Return how many letters there are, and rows of text with the text one letter later: 320 and 100."""
    text = " ".join(LICENCE.read_text(encoding="utf-8").lower().split())
    letters = sorted(set(text))
    codes = np.array([letters.index(letter) for letter in text])
    rows = np.stack([codes[k : k + LENGTH + 1] for k in range(0, len(codes) - LENGTH - 1, LENGTH)])
    return len(letters), parts(rows[:, :-1], rows[:, 1:], (320, 100), seed=3)


def recurrent(params: Params, net: Network) -> Model:
    """Return a GRU that predicts the next character."""
    letters, inputs, hidden = characters()[0], params["embedding"], params["hidden"]
    spread = (3 * hidden) ** -0.5
    table = net.parameter(0.5, letters, inputs)
    gates = net.parameter(spread, inputs, 3 * hidden), net.parameter(spread, hidden, 3 * hidden)
    bias = net.parameter(0, 3 * hidden)
    last = net.parameter(spread, hidden, letters), net.parameter(0, letters)

    def model(x: NDArray[Any]) -> Value:
        embedded = net.dropout(net.embedding(x, table), params["dropout"])
        return net.linear(net.dropout(net.gru(embedded, *gates, bias), params["dropout"]), *last)

    return model


def accuracy(net: Network, outputs: Value, classes: NDArray[Any]) -> float:  # noqa: ARG001
    """Return the share of rows that are classified as they should."""
    return float((outputs.data.argmax(-1) == classes).mean())


def likelihood(net: Network, outputs: Value, classes: NDArray[Any]) -> float:
    """Return the mean log likelihood of a character."""
    return -net.cross_entropy(outputs, classes)


# Tasks


class Task(NamedTuple):
    """A training run to search: its space, its epochs, what trains it, its rows, and the package that trains it."""

    space: dict[str, Parameter]
    epochs: int
    start: Callable[[Params, int], Iterator[float]]
    rows: Callable[[], tuple[Part, Part]]
    package: str


def _affairs(params: Params, seed: int) -> Iterator[float]:
    return boosted(params, seed, affairs(), 200, 4, {"objective": "binary:logistic", "eval_metric": "logloss"})


def _xgb_digits(params: Params, seed: int) -> Iterator[float]:
    extra = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss"}
    return boosted(params, seed, raw_digits(), 100, 2, extra)


TASKS = {
    "xgb_affairs": Task(XGBOOST, 50, _affairs, affairs, "xgboost"),
    "xgb_digits": Task(XGBOOST, 50, _xgb_digits, raw_digits, "xgboost"),
    "mlp_digits": Task(
        MLP, 50, lambda params, seed: network(params, seed, digits(), 50, perceptron, accuracy), digits, "numpy"
    ),
    "gru_text": Task(
        GRU, 40, lambda params, seed: network(params, seed, characters()[1], 40, recurrent, likelihood),
        lambda: characters()[1], "numpy",
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the tasks."""
    return tuple(TASKS)


def seconds_of_an_epoch(name: str, params: Params) -> float:
    """Return what an epoch of a configuration costs by the cost model."""
    scaled: list[float] = []
    for each, parameter in TASKS[name].space.items():
        if isinstance(parameter, hpo.Categorical):
            scaled += [(params[each] == value) - 1 / len(parameter.values) for value in parameter.values[1:]]
        else:
            low, high, value = parameter.low, parameter.high, params[each]
            if parameter.scale == "log":
                low, high, value = np.log(low), np.log(high), np.log(value)
            scaled.append(2 * ((value - low) / (high - low)) - 1)
    features = np.concatenate([[1.0], scaled, np.square(scaled)])
    return float(np.exp(np.clip(features @ np.array(KNOWN[name]["log_seconds"]), *KNOWN[name]["log_range"])))


def plain(name: str, params: Params) -> Params:
    """Return a configuration in plain Python values, in the order of the space."""
    kinds: dict[type, Callable[[Any], Any]] = {hpo.Integer: int, hpo.Continuous: float, hpo.Categorical: str}
    return {each: kinds[type(parameter)](params[each]) for each, parameter in TASKS[name].space.items()}


def start(name: str, params: Params) -> Iterator[float]:
    """Begin the training run of a configuration, whose random seed depends on its values alone."""
    return TASKS[name].start(params, zlib.crc32((name + key(params)).encode()))


def recorded(name: str) -> RecordedRuns:
    """Return a task's runs."""
    package = TASKS[name].package
    return RecordedRuns(f"{name}, {package} {metadata.version(package)}", functools.partial(start, name))


def problem(name: str, runs: RecordedRuns) -> Problem:
    """Return a task to search."""
    task, known = TASKS[name], KNOWN[name]

    def train(params: Params) -> Curve:
        own = plain(name, params)
        run, seconds = runs.run(own), seconds_of_an_epoch(name, own) * np.arange(1, task.epochs + 1)
        return Curve(Values(run, -math.inf), seconds, Values(run, math.nan))

    return Problem(
        task.space, task.epochs, train, known["best"], known["median"], known["training_seconds"], setting=setting(name)
    )


def setting(name: str) -> dict[str, int]:
    """Return what is known before the search, for ``hpo.spaces``."""
    rows = TASKS[name].rows()[0][0]
    if TASKS[name].package == "xgboost":
        return {"rows": len(rows), "features": rows.shape[1], "num_boost_round": 200 if name == "xgb_affairs" else 100}
    return {"steps": len(rows) // BATCH_SIZE * TASKS[name].epochs, "batch_size": BATCH_SIZE}
