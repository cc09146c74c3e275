"""Optimisers of one's own networks: learning rate, weight decay, momentum, schedule and batch size.

Sources are in docs/decisions/0034.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, overload

from hpo_plugins._validation import choice, whole_number
from hpo_plugins.space import Categorical, Continuous, Params
from hpo_plugins.spaces.made import SpaceDict, batch_sizes, believed, learned, or_portfolio

BATCH_SIZES = (16, 32, 64, 128, 256, 512)
ADAM_BATCH, SGD_BATCH = 64, 256
"""Batch sizes of the believed learning rates."""
SCHEDULES = ("cosine", "linear", "constant")

Names = Literal["torch", "keras", "optax"]
_ADAM_NAMES = {
    "torch": ("lr", "weight_decay", "beta1", "beta2"),
    "keras": ("learning_rate", "weight_decay", "beta_1", "beta_2"),
    "optax": ("learning_rate", "weight_decay", "b1", "b2"),
}
_SGD_NAMES = {
    "torch": ("lr", "weight_decay", "momentum", "nesterov"),
    "keras": ("learning_rate", "weight_decay", "momentum", "nesterov"),
    "optax": ("learning_rate", "weight_decay", "momentum", "nesterov"),
}


@overload
def adamw(*, steps: int = ..., batch_size: int = ..., names: Names = ..., portfolio: None = ...) -> SpaceDict: ...


@overload
def adamw(*, steps: int = ..., batch_size: int = ..., names: Names = ..., portfolio: int) -> list[Params]: ...


def adamw(
    *, steps: int = 10_000, batch_size: int = 64, names: Names = "torch", portfolio: int | None = None
) -> SpaceDict | list[Params]:
    """Return a space for networks that AdamW trains, or configurations of it.

    ``schedule`` is the course of the learning rate after ``warmup``, a fraction of all steps in which it rises from 0.

    Args:
        steps: Steps of the optimiser in a full training run, epochs times batches: the more, the smaller the believed
            learning rate.
        batch_size: The batch size that you believe in; the believed learning rate grows with its square root (Malladi,
            Lyu, Panigrahi, Arora, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022).
        names: Whose names the parameters have: ``"torch"`` (``lr``; ``betas=(beta1, beta2)`` takes the last two),
            ``"keras"`` (``learning_rate``, ``beta_1``, ``beta_2``) or ``"optax"`` (``b1``, ``b2``).
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: An argument is none of the above, or not a whole number of at least 1.
    """
    rate, decay, beta1, beta2 = _ADAM_NAMES[choice("names", names, allowed=tuple(_ADAM_NAMES))]
    known = learned()["adam"]
    taskset, algoperf = known["taskset"], known["algoperf"]
    scale = math.sqrt(whole_number("batch_size", batch_size, at_least=1) / ADAM_BATCH)
    scale *= (whole_number("steps", steps, at_least=1) / known["steps"]) ** known["rate_by_steps"]
    space: SpaceDict = {
        rate: believed(Continuous(1e-5, 0.1, scale="log"), scale * taskset["learning_rate"], "medium"),
        decay: believed(Continuous(1e-5, 1.0, scale="log"), _mean(0.01, algoperf["weight_decay"]), "low"),
        beta1: believed(
            Continuous(0.8, 0.99, scale="reverse_log"),
            1 - _mean(0.1, taskset["one_minus_beta1"], algoperf["one_minus_beta1"]),
            "low",
        ),
        beta2: believed(
            Continuous(0.9, 0.9999, scale="reverse_log"),
            1 - _mean(0.001, taskset["one_minus_beta2"], 1 - algoperf["beta2"]),
            "low",
        ),
        **_course(batch_size, (0.6, 0.2, 0.2)),
    }
    return or_portfolio(space, portfolio)


@overload
def sgd(*, batch_size: int = ..., names: Names = ..., portfolio: None = ...) -> SpaceDict: ...


@overload
def sgd(*, batch_size: int = ..., names: Names = ..., portfolio: int) -> list[Params]: ...


def sgd(*, batch_size: int = 64, names: Names = "torch", portfolio: int | None = None) -> SpaceDict | list[Params]:
    """Return a space for networks that stochastic gradient descent with momentum trains, or configurations of it.

    Args:
        batch_size: The batch size that you believe in; the believed learning rate is proportional to it (Goyal et al.,
            "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", arXiv 1706.02677, 2017).
        names: Whose names the parameters have: ``"torch"`` (``lr``), ``"keras"`` or ``"optax"`` (``learning_rate``).
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: An argument is none of the above, or not a whole number of at least 1.
    """
    rate, decay, momentum, nesterov = _SGD_NAMES[choice("names", names, allowed=tuple(_SGD_NAMES))]
    scale = whole_number("batch_size", batch_size, at_least=1) / SGD_BATCH
    space: SpaceDict = {
        rate: believed(Continuous(1e-4, 1.0, scale="log"), 0.1 * scale, "medium"),
        decay: believed(Continuous(1e-6, 1e-2, scale="log"), 1e-4, "low"),
        momentum: believed(Continuous(0.5, 0.99, scale="reverse_log"), 0.9, "medium"),
        nesterov: Categorical([True, False], prior=True, confidence="low"),
        **_course(batch_size, (0.6, 0.2, 0.2)),
    }
    return or_portfolio(space, portfolio)


def _course(batch_size: int, weights: Sequence[float]) -> SpaceDict:
    """Return the parameters of how the learning rate changes, and of the batch size."""
    warmup = learned()["adam"]["algoperf"]["warmup_factor"]
    return {
        "schedule": Categorical(SCHEDULES, prior=tuple(weights)),
        "warmup": believed(Continuous(0.0, 0.2), warmup, "low"),
        "batch_size": batch_sizes(batch_size, BATCH_SIZES),
    }


def _mean(*values: float) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))
