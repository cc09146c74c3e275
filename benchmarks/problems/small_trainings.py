"""Small real training runs of six kinds, on data that Python, scikit-learn and statsmodels ship: no data folder needed.

    boosting      LightGBM, Poisson regression of doctor visits (statsmodels, randhie)
    linear        a linear classifier trained by SGD, on digits (scikit-learn)
    autoencoder   a network that reproduces digits (torch)
    language      a language model of characters, on the topics of pydoc (torch)
    residual      a residual convolutional network, on digits (torch)
    factors       matrix factorisation of digits with missing pixels, by SGD (numpy)

Each has a space with wide ranges, as people write them who know little, and one with narrow ranges around usual values:
``residual`` and ``residual, narrow``. Values are validation losses with the sign changed, after each of 30 epochs. A
configuration's training run is the same in every search: its random numbers depend on its values only, and it is kept
(``recorded_runs.py``).
"""

from __future__ import annotations

import functools
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
from benchmarks.problems.recorded_runs import RecordedRuns, Values
from hpo_plugins.space import Parameter, Space

EPOCHS = 30
OPTIMA = Path(__file__).with_name("small_trainings.json")
"""The best and the median value known of each task; see ``scale``."""
N_SCALE = 64
Losses = Iterator[float]
Split = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def log(low: float, high: float) -> hpo.Continuous:
    """Return a parameter on a log scale."""
    return hpo.Continuous(low, high, scale="log")


def halves(x: NDArray[Any], y: NDArray[Any], train: int, validation: int) -> Split:
    """Return shuffled rows for training and for validation."""
    order = np.random.default_rng(0).permutation(len(x))
    first, second = order[:train], order[train : train + validation]
    return x[first], y[first], x[second], y[second]


@functools.cache
def digits() -> Split:
    """Return 800 digits for training and 600 for validation, pixels from 0 to 1."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return halves((x / 16).astype(np.float32), y, 800, 600)


@functools.cache
def visits() -> Split:
    """Return 3,000 rows of doctor visits for training and 3,000 for validation."""
    import statsmodels.api as sm

    data = sm.datasets.randhie.load_pandas().data
    return halves(data.drop(columns="mdvis").to_numpy(), data["mdvis"].to_numpy(), 3_000, 3_000)


@functools.cache
def text() -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return codes of characters for training and for validation, and how many different ones there are."""
    from pydoc_data.topics import topics

    letters = " ".join(" ".join(topics[name].lower().split()) for name in ("assignment", "class", "exprlists", "with"))
    known = sorted(set(letters))
    codes = np.array([known.index(letter) for letter in letters])
    cut = int(0.8 * len(codes))
    return codes[:cut], codes[cut:], len(known)


def boosting(params: dict[str, Any], seed: int) -> Losses:
    """Yield the Poisson deviance after every five rounds."""
    import lightgbm

    x, y, vx, vy = visits()
    made = {**params, "objective": "poisson", "metric": "poisson", "num_threads": 1, "seed": seed, "verbosity": -1}
    booster = lightgbm.Booster({**made, "bagging_freq": 1}, lightgbm.Dataset(x, y, params={"verbosity": -1}))
    for _ in range(EPOCHS):
        for _ in range(5):
            booster.update()
        expected = np.maximum(booster.predict(vx), 1e-9)
        yield float(np.mean(expected - vy * np.log(expected)))


def linear(params: dict[str, Any], seed: int) -> Losses:
    """Yield the log loss of a linear classifier after each pass."""
    from sklearn.linear_model import SGDClassifier

    x, y, vx, vy = digits()
    model = SGDClassifier(loss="log_loss", random_state=seed % 2**31, **params)
    order = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        rows = order.permutation(len(x))[:300]
        model.partial_fit(x[rows], y[rows], classes=np.arange(10))
        scores = model.decision_function(vx)
        if not np.isfinite(scores).all():
            yield math.nan
        scores = scores - scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        yield float(-np.maximum(logs[np.arange(len(vy)), vy], -20).mean())


def factors(params: dict[str, Any], seed: int) -> Losses:
    """Yield the squared error of the missing pixels after each pass."""
    x = digits()[0][:400]
    rng = np.random.default_rng(seed)
    hidden = np.random.default_rng(0).random(x.shape) < 0.5
    rows, columns = np.nonzero(~hidden)
    rank, rate = params["rank"], params["rate"]
    left, right = (params["spread"] * rng.standard_normal((n, rank)) for n in x.shape)
    mean = x[~hidden].mean()
    with np.errstate(all="ignore"):
        for epoch in range(EPOCHS):
            step = rate * params["decay"] ** epoch
            for part in np.array_split(rng.permutation(len(rows)), 40):
                i, j = rows[part], columns[part]
                u, v = left[i], right[j]
                error = (x[i, j] - mean - (u * v).sum(axis=1))[:, None]
                np.add.at(left, i, step * (error * v - params["penalty"] * u))
                np.add.at(right, j, step * (error * u - params["penalty"] * v))
            yield float(((x - mean - left @ right.T)[hidden] ** 2).mean())


def network(
    params: dict[str, Any], seed: int, build: Callable[[Any], Any], batches: Callable[[Any, int], Any], loss: Any
) -> Losses:
    """Yield the validation loss of a torch network after each epoch.

    Args:
        params: With ``lr``, ``optimizer``, ``weight_decay``, ``batch_size`` and ``schedule``.
        seed: Of weights and order.
        build: Makes the network, given torch.
        batches: Yields inputs and targets for training (given a batch size) or for validation (0).
        loss: Of outputs and targets.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build(torch)
    if params["optimizer"] == "adam":
        optimizer: Any = torch.optim.AdamW(model.parameters(), params["lr"], weight_decay=params["weight_decay"])
    else:
        optimizer = torch.optim.SGD(model.parameters(), params["lr"], 0.9, weight_decay=params["weight_decay"])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    state = torch.get_rng_state()
    for _ in range(EPOCHS):
        torch.set_rng_state(state)  # another training run may have been trained meanwhile
        model.train()
        for x, y in batches(torch, params["batch_size"]):
            optimizer.zero_grad()
            loss(torch, model(x), y).backward()
            optimizer.step()
        if params["schedule"] == "cosine":
            cosine.step()
        model.eval()
        with torch.no_grad():
            value = float(np.mean([float(loss(torch, model(x), y)) for x, y in batches(torch, 0)]))
        state = torch.get_rng_state()
        yield value


def digit_batches(torch: Any, size: int, *, images: bool, targets: bool) -> Iterator[tuple[Any, Any]]:
    """Yield batches of digits; as images or rows, with their classes or themselves as targets."""
    x, y, vx, vy = digits()
    if not size:
        x, y, size = vx, vy, len(vx) // (2 if images else 1)
        order = np.arange(size)
    else:
        order = torch.randperm(len(x)).numpy()[: 256 if images else 512]
    for k in range(0, len(order) - size + 1, size):
        rows = order[k : k + size]
        inputs = torch.from_numpy(x[rows].reshape(-1, 1, 8, 8) if images else x[rows])
        yield inputs, torch.from_numpy(y[rows]) if targets else inputs


def autoencoder(params: dict[str, Any], seed: int) -> Losses:
    """Yield the squared error of an autoencoder."""

    def build(torch: Any) -> Any:
        nn, width, code = torch.nn, params["width"], params["code"]
        layers = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, code), nn.ReLU(), nn.Dropout(params["dropout"])]
        return nn.Sequential(*layers, nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 64))

    batches = functools.partial(digit_batches, images=False, targets=False)
    return network(params, seed, build, batches, lambda torch, out, y: torch.nn.functional.mse_loss(out, y))


def residual(params: dict[str, Any], seed: int) -> Losses:
    """Yield the log loss of a residual convolutional network."""

    def build(torch: Any) -> Any:
        nn, width = torch.nn, params["channels"]

        class Block(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                convolution = nn.Conv2d(width, width, 3, padding=1)
                self.inner = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), convolution, nn.Dropout(params["dropout"]))

            def forward(self, x: Any) -> Any:
                return x + self.inner(x)

        head = [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4 * width, 10)]
        return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), *(Block() for _ in range(params["blocks"])), *head)

    batches = functools.partial(digit_batches, images=True, targets=True)
    smoothing = params["label_smoothing"]

    def loss(torch: Any, out: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(out, y, label_smoothing=smoothing if out.requires_grad else 0.0)

    return network(params, seed, build, batches, loss)


def language(params: dict[str, Any], seed: int) -> Losses:
    """Yield nats a character of a network that reads the last ``context`` characters."""
    train, validation, letters = text()
    context = params["context"]

    def build(torch: Any) -> Any:
        nn = torch.nn
        layers = [nn.Embedding(letters, params["embedding"]), nn.Flatten()]
        layers += [nn.Linear(context * params["embedding"], params["width"]), nn.Tanh(), nn.Dropout(params["dropout"])]
        return nn.Sequential(*layers, nn.Linear(params["width"], letters))

    def batches(torch: Any, size: int) -> Iterator[tuple[Any, Any]]:
        codes = train if size else validation
        ends = torch.randint(context, len(codes), (800,)).numpy() if size else np.arange(context, len(codes), 23)
        for k in range(0, len(ends) - (size or len(ends)) + 1, size or len(ends)):
            chosen = ends[k : k + (size or len(ends))]
            windows = codes[chosen[:, None] - np.arange(context, 0, -1)]
            yield torch.from_numpy(windows), torch.from_numpy(codes[chosen])

    return network(params, seed, build, batches, lambda torch, out, y: torch.nn.functional.cross_entropy(out, y))


def _deep(lr: tuple[float, float], decay: tuple[float, float], batch: tuple[int, int]) -> dict[str, Parameter]:
    return {
        "lr": log(*lr),
        "weight_decay": log(*decay),
        "batch_size": hpo.Integer(*batch, scale="log"),
        "optimizer": hpo.Categorical(["sgd", "adam"]),
        "schedule": hpo.Categorical(["constant", "cosine"]),
    }


_WIDE, _NARROW = _deep((1e-5, 1.0), (1e-7, 1.0), (16, 256)), _deep((3e-4, 3e-2), (1e-5, 1e-2), (16, 64))


class Kind(NamedTuple):
    """A kind of training run: what trains it, the package of that, and its wide and its narrow space."""

    losses: Callable[[dict[str, Any], int], Losses]
    package: str
    wide: dict[str, Parameter]
    narrow: dict[str, Parameter]


KINDS = {
    "boosting": Kind(
        boosting, "lightgbm",
        {
            "learning_rate": log(1e-3, 1.0), "num_leaves": hpo.Integer(2, 256, scale="log"),
            "min_data_in_leaf": hpo.Integer(1, 500, scale="log"), "lambda_l2": log(1e-4, 1e3),
            "feature_fraction": hpo.Continuous(0.1, 1.0), "bagging_fraction": hpo.Continuous(0.1, 1.0),
        },
        {
            "learning_rate": log(0.02, 0.3), "num_leaves": hpo.Integer(8, 64, scale="log"),
            "min_data_in_leaf": hpo.Integer(10, 100, scale="log"), "lambda_l2": log(1e-2, 10),
            "feature_fraction": hpo.Continuous(0.5, 1.0), "bagging_fraction": hpo.Continuous(0.5, 1.0),
        },
    ),
    "linear": Kind(
        linear, "scikit-learn",
        {
            "alpha": log(1e-8, 1.0), "eta0": log(1e-5, 10.0), "power_t": hpo.Continuous(0.0, 1.0),
            "learning_rate": hpo.Categorical(["constant", "invscaling", "adaptive"]),
            "penalty": hpo.Categorical(["l2", "l1", "elasticnet"]),
            "l1_ratio": hpo.Continuous(0.0, 1.0, when={"penalty": "elasticnet"}),
        },
        {
            "alpha": log(1e-6, 1e-3), "eta0": log(1e-2, 1.0), "power_t": hpo.Continuous(0.1, 0.6),
            "learning_rate": hpo.Categorical(["invscaling", "adaptive"]), "penalty": hpo.Categorical(["l2", "l1"]),
        },
    ),
    "autoencoder": Kind(
        autoencoder, "torch",
        {**_WIDE, "width": hpo.Integer(8, 256, scale="log"), "code": hpo.Integer(2, 32, scale="log"),
         "dropout": hpo.Continuous(0.0, 0.8)},
        {**_NARROW, "width": hpo.Integer(64, 256, scale="log"), "code": hpo.Integer(8, 32, scale="log"),
         "dropout": hpo.Continuous(0.0, 0.3)},
    ),
    "language": Kind(
        language, "torch",
        {**_WIDE, "width": hpo.Integer(8, 256, scale="log"), "embedding": hpo.Integer(2, 32, scale="log"),
         "context": hpo.Integer(1, 12), "dropout": hpo.Continuous(0.0, 0.8)},
        {**_NARROW, "width": hpo.Integer(64, 256, scale="log"), "embedding": hpo.Integer(8, 32, scale="log"),
         "context": hpo.Integer(4, 10), "dropout": hpo.Continuous(0.0, 0.3)},
    ),
    "residual": Kind(
        residual, "torch",
        {**_WIDE, "channels": hpo.Integer(2, 12, scale="log"), "blocks": hpo.Integer(0, 3),
         "dropout": hpo.Continuous(0.0, 0.8), "label_smoothing": hpo.Continuous(0.0, 0.5)},
        {**_NARROW, "channels": hpo.Integer(6, 12, scale="log"), "blocks": hpo.Integer(1, 2),
         "dropout": hpo.Continuous(0.0, 0.3), "label_smoothing": hpo.Continuous(0.0, 0.1)},
    ),
    "factors": Kind(
        factors, "numpy",
        {"rate": log(1e-4, 1.0), "rank": hpo.Integer(1, 40, scale="log"), "penalty": log(1e-5, 10.0),
         "spread": log(1e-3, 3.0), "decay": hpo.Continuous(0.7, 1.0)},
        {"rate": log(1e-2, 0.2), "rank": hpo.Integer(4, 16, scale="log"), "penalty": log(1e-3, 0.3),
         "spread": log(3e-2, 0.3), "decay": hpo.Continuous(0.9, 1.0)},
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the tasks: each kind with wide and with narrow ranges."""
    return tuple(name for kind in KINDS for name in (kind, f"{kind}, narrow"))


def start(kind: str, params: dict[str, Any]) -> Losses:
    """Begin the training run of a configuration and yield its losses with their sign changed."""
    seed = zlib.crc32(repr(sorted((name, repr(value)) for name, value in params.items())).encode())
    return (-loss for loss in KINDS[kind].losses(params, seed))


def recorded(name: str) -> RecordedRuns:
    """Return the runs of a task's kind."""
    kind = name.partition(", ")[0]
    package = KINDS[kind].package
    return RecordedRuns(f"{kind}, {package} {metadata.version(package)}", functools.partial(start, kind))


def train(runs: RecordedRuns, params: dict[str, Any]) -> Curve:
    """Return the training run of a configuration; an epoch takes a second."""
    run = runs.run(params)
    return Curve(Values(run, -math.inf), np.arange(1.0, EPOCHS + 1), Values(run, math.nan))


def space_of(name: str) -> dict[str, Parameter]:
    """Return the space of a task."""
    kind, _, width = name.partition(", ")
    return KINDS[kind].narrow if width else KINDS[kind].wide


def scale(name: str) -> dict[str, float]:
    """Return the best and the median value of random configurations, half of them near the best: measured once."""
    space, runs = Space(space_of(name)), recorded(name)
    rng, points, found = np.random.default_rng(0), [], []
    for number in range(2 * N_SCALE):
        point = rng.random(len(space))
        if number >= N_SCALE:  # around the best tenth
            leaders = np.argsort(found)[-N_SCALE // 10 :]
            point = np.clip(points[rng.choice(leaders)] + rng.normal(0, 0.08, len(space)), 0, 1)
        points.append(point)
        curve = train(runs, space.decode(point))
        found.append(max(float(curve.score[epoch]) for epoch in range(EPOCHS)))
    return {"best": max(found), "median": float(np.median(found[:N_SCALE]))}


def problem(name: str, runs: RecordedRuns) -> Problem:
    """Return a task to search."""
    known = json.loads(OPTIMA.read_text())[name]
    return Problem(space_of(name), EPOCHS, functools.partial(train, runs), known["best"], known["median"], EPOCHS)


def main() -> None:
    """Measure the scale of every task that has none."""
    known = json.loads(OPTIMA.read_text()) if OPTIMA.exists() else {}
    for name in names():
        if name not in known:
            known[name] = scale(name)
            OPTIMA.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(name, known[name], flush=True)
