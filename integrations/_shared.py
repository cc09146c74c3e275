"""What several callbacks need: the arguments of the framework's function, and errors about checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.errors import CheckpointError


def caller_arguments(functions: Collection[str], variable: str) -> Mapping[str, Any]:
    """Return the arguments and variables of the framework's function that is calling us, empty if it is not found.

    Frameworks do not tell callbacks everything that they were called with. All of it are local variables of the
    function further up the stack.

    Args:
        functions: The names that the function may have.
        variable: A variable that tells it apart from other functions of these names.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name in functions and variable in frame.f_locals:
            return frame.f_locals
        frame = frame.f_back
    return {}


def damaged(path: Path, framework: str, number: int, error: Exception) -> CheckpointError:
    """Return the error that a checkpoint cannot be read.

    Args:
        path: The checkpoint.
        framework: The framework that it should have been written by.
        number: The trial.
        error: The error that reading it raised.
    """
    return CheckpointError(f"The checkpoint {path} is damaged or not written by {framework}: {error}. {cure(number)}")


def of_another_model(path: Path, number: int, difference: str) -> CheckpointError:
    """Return the error that a checkpoint does not fit the training's model.

    Args:
        path: The checkpoint.
        number: The trial.
        difference: In what they differ.
    """
    return CheckpointError(f"The checkpoint {path} is of another model: {difference}. {cure(number)}")


def cure(number: int) -> str:
    """Return what to do about a checkpoint of a trial that cannot be used."""
    return f"Put the right file back, or train the trial from the start again: tuner.restart({number})."
