"""Measure the cost of a checkpoint, written after every epoch for many samples, and of resuming from it.

Usage: python -m benchmarks save-cost [--epochs 12]

One core. A save is written, flushed to the disk and renamed; *resuming* is the time from the call of the framework's
training function to the end of its first epoch, for a resumed trial minus a new one.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import keras
import lightning.pytorch as pl
import numpy as np
import torch
import xgboost
from hpo_plugins.integrations import keras as on_keras
from hpo_plugins.integrations import xgboost as on_xgboost
from sklearn.datasets import load_digits

import hpo_plugins as hpo

Train = Callable[[hpo.Trial, int], object]
X, Y = load_digits(return_X_y=True)


def xgboost_rounds(trial: hpo.Trial, epochs: int) -> None:
    """Boost ten trees a round."""
    data = xgboost.DMatrix(X, Y)
    parameters = {"objective": "multi:softprob", "num_class": 10, "nthread": 1}
    callbacks = [on_xgboost.TrialCallback(trial)]
    xgboost.train(parameters, data, epochs, evals=[(data, "train")], verbose_eval=False, callbacks=callbacks)


def keras_epochs(trial: hpo.Trial, epochs: int) -> None:
    """Train two layers with Adam."""
    layers = [keras.layers.Input((64,)), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X / 16, Y, epochs=epochs, verbose=0, callbacks=[on_keras.TrialCallback(trial)])


class Network(pl.LightningModule):
    """The same network."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters())


def lightning_epochs(trial: hpo.Trial, epochs: int) -> None:
    """Train it."""
    from hpo_plugins.integrations.lightning import TrialCallback

    data = torch.utils.data.TensorDataset(torch.tensor(X / 16, dtype=torch.float32), torch.tensor(Y))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[TrialCallback(trial)], **quiet)
    trainer.fit(Network(), torch.utils.data.DataLoader(data, batch_size=32), ckpt_path=trial.resume_from)


SUBJECTS: dict[str, tuple[Train, str]] = {
    "XGBoost, ten trees a round": (xgboost_rounds, "train-mlogloss"),
    "Keras on torch, 19,000 weights, Adam": (keras_epochs, "loss"),
    "Lightning, 19,000 weights, Adam": (lightning_epochs, "loss"),
}


class Timed(hpo.Trial):
    """A trial whose saves are timed, and due after every epoch."""

    seconds: list[float]
    sizes: list[int]
    reports: list[float]

    @property
    def save_is_due(self) -> bool:
        """Whether an epoch was reported."""
        return bool(self.reports)

    def save(self, write: Any, *, suffix: str = "") -> bool:
        """Time the save."""

        def written(path: Path) -> None:
            write(path)
            self.sizes.append(path.stat().st_size)

        start = time.perf_counter()
        saved = super().save(written, suffix=suffix)
        self.seconds.append(time.perf_counter() - start)
        return saved

    def report(self, *arguments: Any, **named: Any) -> bool:
        """Note when the epoch came."""
        self.reports.append(time.perf_counter())
        return super().report(*arguments, **named)


def timed(trial: hpo.Trial) -> Timed:
    """Return the trial with its saves timed."""
    trial.__class__ = Timed
    trial.seconds, trial.sizes, trial.reports = [], [], []  # type: ignore[attr-defined]
    return trial  # type: ignore[return-value]


def main() -> None:
    """Print a line a framework."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    epochs = parser.parse_args().epochs
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "hpo_plugins"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print("| training | an epoch, ms | a save, ms | KB | going on, ms |\n|---|---|---|---|---|")
    for name, (train, metric) in SUBJECTS.items():
        train(hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize(metric)).ask(), 1)  # first calls take longer
        with tempfile.TemporaryDirectory() as folder:
            strategy = hpo.Hyperband(
                min_resource=epochs // 2, max_resource=epochs, reduction_factor=2 * epochs, pause=True
            )
            arguments = {"strategy": strategy, "max_trials": 1, "storage": Path(folder, "study.db"), "seed": 0}
            begins, runs = [], []
            for trial in hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize(metric), **arguments):
                begins.append(time.perf_counter())
                runs.append(timed(trial))
                train(trial, epochs)
            first, again = runs
            saves = first.seconds + again.seconds
            epoch = median(np.diff(first.reports)) - median(first.seconds)
            going_on = (again.reports[0] - begins[1]) - (first.reports[0] - begins[0])
            figures = (epoch * 1e3, median(saves) * 1e3, median(first.sizes + again.sizes) / 1e3, going_on * 1e3)
            print(f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |", flush=True)
