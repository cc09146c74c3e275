"""The way of a checkpoint: when a trial is to be saved, and how its checkpoint is written and registered."""

from __future__ import annotations

import contextlib
import logging
import time

from hpo_plugins.coordination.held import Held
from hpo_plugins.coordination.reporting import flush, take_away
from hpo_plugins.coordination.session import Standing
from hpo_plugins.errors import StorageError
from hpo_plugins.records import TrialState
from hpo_plugins.storage.checkpoints import Write

logger = logging.getLogger("hpo_plugins")


def is_due(standing: Standing, number: int, held: Held) -> bool:
    """Return whether a trial should be saved now; see ``Trial.save_is_due``."""
    if not held.epoch:
        return False
    if held.verdict is TrialState.PAUSED:
        return True
    if standing.checkpoints.keeping == "pauses":
        return False
    if held.verdict is TrialState.COMPLETED:
        return standing.history.incumbent() == number
    return not held.stopping and standing.store.outlives_process and held.clock.due()


def save(standing: Standing, number: int, held: Held, epoch: int, write: Write, suffix: str) -> bool:
    """Write a checkpoint of an epoch and register it; see ``Trial.save``.

    To be called without the lock: writing may take long, and leases are renewed meanwhile.
    """
    started = time.perf_counter()
    try:
        path = standing.checkpoints.write(number, held.attempt, epoch, write, suffix)
    except OSError as error:
        _cannot_save(standing, number, held, error)
        return False
    with standing.lock:
        try:
            flush(standing, held)  # a checkpoint must not be ahead of the reports
            saved = standing.store.update(number, held.attempt, checkpoint=path, start_epoch=epoch)
        except StorageError as error:
            standing.checkpoints.discard(path)
            _cannot_save(standing, number, held, error)
            return False
        held.clock.saved(time.perf_counter() - started)
        if saved:
            standing.checkpoints.clear(number, but=path)
        else:
            standing.checkpoints.discard(path)
            take_away(number, held)
        return saved


def _cannot_save(standing: Standing, number: int, held: Held, error: Exception) -> None:
    """Let a training go on without a new checkpoint; one that was to be frozen is stopped for good instead."""
    logger.warning("trial %d: epoch %d could not be saved: %s", number, held.epoch, error)
    held.clock.saved(0.0)
    if held.verdict is TrialState.PAUSED:
        held.verdict = TrialState.STOPPED
        with contextlib.suppress(StorageError):  # then the verdict of a pause stands, without its checkpoint
            reason = f"it was to be paused, but its checkpoint could not be written: {error}"
            standing.store.update(number, held.attempt, decision=TrialState.STOPPED, stop_reason=reason)
