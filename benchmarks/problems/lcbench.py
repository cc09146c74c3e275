"""LCBench learning curves (Zimmer, Lindauer, Hutter 2021), from the YAHPO Gym surrogate, as a tuning problem.

The data is not part of this project. Point ``HPO_PLUGINS_BENCHMARK_DATA`` at the folder that holds ``lcbench/``
with ``model.onnx`` and ``encoding.json`` of https://github.com/slds-lmu/yahpo_data.

    x_cat   int32 (n, 1), the instance          x_cont  float32 (n, 8), epoch and seven hyperparameters
    output  (n, 6): cumulative seconds, validation accuracy in %, ...
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Curve, Problem
from hpo_plugins.space import Space

EPOCHS = 52
OPTIMA = Path(__file__).with_name("optima.json")
"""The best accuracy known of each instance, and the median of random configurations; see ``optimum.py``."""
DEV = ("3945", "7593", "34539", "126025", "126026", "126029", "146212", "167104", "167149", "167152")
SPACE: dict[str, Any] = {
    "batch_size": hpo.Integer(16, 512, scale="log"),
    "learning_rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
    "momentum": hpo.Continuous(0.1, 0.99, scale="linear"),
    "weight_decay": hpo.Continuous(1e-5, 1e-1, scale="linear"),
    "num_layers": hpo.Integer(1, 5, scale="linear"),
    "max_units": hpo.Integer(64, 1024, scale="log"),
    "max_dropout": hpo.Continuous(0.0, 1.0, scale="linear"),
}


def data_folder() -> Path:
    """Return the folder of the benchmark data."""
    folder = os.environ.get("HPO_PLUGINS_BENCHMARK_DATA")
    if folder is None:
        raise SystemExit(
            "Set HPO_PLUGINS_BENCHMARK_DATA to the folder that holds lcbench/ (see this file's docstring)."
        )
    return Path(folder)


@functools.cache
def _session() -> tuple[onnxruntime.InferenceSession, dict[str, int]]:
    folder = data_folder() / "lcbench"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return model, json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]


def curves(instance: str, configurations: list[dict[str, Any]], epochs: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return the surrogate's outputs, shape ``(n_configurations, n_epochs, 6)``."""
    model, encoding = _session()
    epochs = np.arange(1, EPOCHS + 1) if epochs is None else epochs
    rows = np.array([[c[name] for name in SPACE] for c in configurations], dtype=np.float32)
    x = np.concatenate(
        [np.tile(epochs[None, :, None], (len(rows), 1, 1)), np.repeat(rows[:, None], len(epochs), 1)], axis=2
    )
    x = x.reshape(-1, 8).astype(np.float32)
    category = np.full((len(x), 1), encoding[instance], dtype=np.int32)
    (output,) = model.run(None, {"x_cat": category, "x_cont": x})
    return np.asarray(output).reshape(len(rows), len(epochs), -1)


def accuracy(instance: str, params: dict[str, Any]) -> NDArray[Any]:
    """Return the validation accuracy in % after each epoch, shape ``(52,)``."""
    result: NDArray[Any] = curves(instance, [params])[0, :, 1].astype(float)
    return result


def training(instance: str, params: dict[str, Any]) -> Curve:
    """Return the training run of a configuration."""
    output = curves(instance, [params])[0].astype(float)
    return Curve(output[:, 1], np.maximum.accumulate(output[:, 0]), output[:, 1])


def training_seconds(train: Callable[[dict[str, Any]], Curve]) -> float:
    """Return the mean duration of 200 random full training runs."""
    rng, space = np.random.default_rng(0), Space(SPACE)
    return float(np.mean([train(space.decode(rng.random(len(space)))).seconds[-1] for _ in range(200)]))


@functools.cache
def problem(instance: str) -> Problem:
    """Return an instance to search."""
    known, train = json.loads(OPTIMA.read_text())[instance], functools.partial(training, instance)
    return Problem(SPACE, EPOCHS, train, known["best"], known["median"], training_seconds(train))
