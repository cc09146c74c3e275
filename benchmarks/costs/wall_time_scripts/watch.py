"""What all scripts share: the data, and lines that say when which loss was reached and what training costs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

RECORD = os.environ["WALL_TIME_RECORD"]
"""The file that gets a JSON line for each epoch and each training run."""


def note(**values: float) -> None:
    """Write a line with the time and this process's CPU seconds; several processes may."""
    with open(RECORD, "a", encoding="utf-8") as file:  # noqa: PTH123 - the shortest way, an epoch's time counts
        file.write(json.dumps({"at": time.time(), "pid": os.getpid(), "cpu": time.process_time(), **values}) + "\n")


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Note the beginning and the end of a training run."""
    note(begins=1)
    try:
        yield
    finally:
        note(ends=1)


def digits() -> list[tuple[Any, Any]]:
    """Return 1,347 digits for training and 450 for validation."""
    x, y = load_digits(return_X_y=True)
    train, valid, classes, theirs = train_test_split((x / 16).astype(np.float32), y, random_state=0, stratify=y)
    return [(train, classes), (valid, theirs)]
