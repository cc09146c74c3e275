"""Save a training run: its checkpoint is complete before the study refers to it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from hpo_plugins.coordination.attempt import Attempt
from hpo_plugins.errors import StorageError
from hpo_plugins.records import TrialState
from hpo_plugins.storage.checkpoints import SaveTimer, Write

logger = logging.getLogger("hpo_plugins")


class Saver:
    """Saves one training run of an attempt.

    Args:
        attempt: The attempt.
        fold: The fold, None in a trial without folds.
    """

    def __init__(self, attempt: Attempt, fold: int | None) -> None:
        """Start the clock that times saves."""
        self._attempt = attempt
        self._fold = fold
        self._timer = SaveTimer()
        session = attempt.session
        self._keeps_best = session.checkpoints.policy == "best" and fold is None
        self._saves_running = session.checkpoints.policy != "pauses" and session.store.outlives_process

    def is_due(self, epoch: int) -> bool:
        """Return whether the training run should be saved now; see ``Trial.save_is_due``.

        Args:
            epoch: The epoch that was reported last.
        """
        attempt = self._attempt
        session, journal = attempt.session, attempt.journal
        if journal.decision is None and not (self._saves_running or self._keeps_best):  # most reports in memory
            return False
        if not attempt.is_held():
            return False
        if attempt.is_visiting and self._fold is not None:
            return False  # folds that train at the same time cannot share the trial's one checkpoint
        if journal.decision is TrialState.PAUSED:
            return True
        if session.checkpoints.policy == "pauses":
            return False
        if self._is_best(epoch):
            return True
        if journal.decision is TrialState.COMPLETED:
            return attempt.number in session.history.best_numbers()
        return not journal.stops(self._fold) and self._saves_running and self._timer.is_due()

    def save(self, epoch: int, write: Write, suffix: str) -> bool:
        """Write a checkpoint, and return whether the study has it; see ``Trial.save``.

        Args:
            epoch: The epoch of the checkpoint.
            write: Called with a path, writes the checkpoint there.
            suffix: Ending of the path.
        """
        attempt, started = self._attempt, time.perf_counter()
        session, number = attempt.session, attempt.number
        try:  # without the lock, since writing may take long and leases must be renewed meanwhile
            path = session.checkpoints.write(number, attempt.attempt, epoch, write, suffix)
        except OSError as error:
            self._fail(epoch, error)
            return False
        with session.lock:
            try:
                attempt.journal.flush()  # a checkpoint must not be ahead of the reports
                # The death of a worker counts towards ``retries`` only if nothing was saved since the last death.
                progress = replace(session.history[number].row.progress, checkpoint=path, start_epoch=epoch)
                if self._is_best(epoch):
                    progress = replace(progress, best_checkpoint=path, best_checkpoint_epoch=epoch)
                is_saved = attempt.update(progress=progress, failed_attempts=0)
            except StorageError as error:
                session.checkpoints.discard(path)
                self._fail(epoch, error)
                return False
            self._timer.saved(time.perf_counter() - started)
            if is_saved:
                session.checkpoints.clear(number, but=(path, progress.best_checkpoint))
            else:
                session.checkpoints.discard(path)
                attempt.journal.lose()
            return is_saved

    def _is_best(self, epoch: int) -> bool:
        """Return whether an epoch is the best of the study so far and the policy keeps best epochs.

        A trial with folds has several models, so it has no best checkpoint.
        """
        session, number = self._attempt.session, self._attempt.number
        if not self._keeps_best or number not in session.history.best_numbers():
            return False
        return session.history.epoch_that_counts(number) == epoch

    def _fail(self, epoch: int, error: Exception) -> None:
        """Continue the training run without a new checkpoint; stop it permanently if it should have been paused."""
        logger.warning("trial %d: epoch %d could not be saved: %s", self._attempt.number, epoch, error)
        self._timer.saved(0.0)
        self._attempt.journal.cannot_pause(f"its checkpoint could not be written: {error}")
