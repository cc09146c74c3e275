"""The ranks of a Lightning training run: rank 0's answers for all, and the exit of each."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from typing import Any

from hpo_plugins.integrations._shared import T, ask_rank_zero

from hpo_plugins.errors import WorkerError
from hpo_plugins.trial import TrainingHandle


def check_ranks(trainer: Any, trial: TrainingHandle) -> None:
    """Raise WorkerError on every rank if they train different trials."""
    if trainer.world_size == 1:
        return
    own = (trial.trial_number, trial.number, trial.attempt, sorted(map(repr, trial.params.items())))
    if not trainer.strategy.reduce_boolean_decision(own == trainer.strategy.broadcast(own, src=0), all=True):
        raise WorkerError(
            f"The ranks of one training must train one trial, but this is rank {trainer.global_rank} with trial "
            f"{trial.trial_number}, and another rank has another one. Start them with torchrun or "
            "accelerate launch, or on one machine let Lightning start them (strategy='ddp'): then all ranks follow "
            "rank 0."
        )


def from_rank_zero(trainer: Any, ask: Callable[[], T]) -> T:
    """Return rank 0's answer, or raise its exception, on every rank."""
    return ask_rank_zero(ask, lambda answer: broadcast(trainer, answer), is_rank_zero=trainer.is_global_zero)


def broadcast(trainer: Any, answer: Any) -> Any:
    """Return rank 0's answer on every rank."""
    return answer if trainer.world_size == 1 else trainer.strategy.broadcast(answer, src=0)


def leave_at_exit() -> None:
    """Make this process leave the process group when it exits, once for any number of training runs."""
    atexit.unregister(_leave_process_group)
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    """Join the threads of torch's process group while the interpreter is still alive.

    A thread of gloo frees the tensors of the last collective after reporting it as done, and needs the interpreter's
    lock to do so. If the process exits within those milliseconds, as a spawned rank does after the last report,
    Python ends the thread inside a destructor, and C++ aborts the process. Lightning leaves the group at exit only
    for nccl.
    """
    import torch.distributed

    if torch.distributed.is_initialized():
        gc.collect()  # a model in a cycle of references would keep the group's threads
        torch.distributed.destroy_process_group()
