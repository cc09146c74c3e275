"""The one place where a trial is handed out, judged and ended.

Every decision is made on the history as the storage has it, and written before it is acted on. What must hold
between processes is held by the storage (see ``storage/base.py``); the lock of ``Standing`` keeps the threads of one
process apart. A file each knows how a study stands (``standing``), what is handed out next (``handing_out``), how a
report is judged (``reporting``), a checkpoint saved (``saving``) and a trial ended (``ending``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from hpo_plugins.coordination import heartbeat as lease
from hpo_plugins.coordination import reporting, saving
from hpo_plugins.coordination.completion import Silence, finish, verdict_at_end
from hpo_plugins.coordination.held import Held, next_epoch
from hpo_plugins.coordination.scheduling import OldView, checkpoint_of, next_offer, was_handed_out
from hpo_plugins.coordination.session import LONG_AGO, Standing
from hpo_plugins.errors import CheckpointError, InvalidArgument, MetricNotFound, StorageError
from hpo_plugins.history import History
from hpo_plugins.records import Assignment, TrialState, plain_metrics
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints, Write
from hpo_plugins.storage.protocol import LEASE_SECONDS
from hpo_plugins.strategies import Verdict
from hpo_plugins.study.config import Study
from hpo_plugins.trial import Trial

logger = logging.getLogger("hpo_plugins")


class Coordinator:
    """Hands out, judges and ends the trials of one study.

    Args:
        study: The definition.
        store: Where the study is kept.
        checkpoints: Where trials keep their checkpoints.
        retries: How often a trial is handed out again whose worker vanished, or that raised one of ``retry_on``.
        retry_on: The exceptions of the user's code after which a trial is handed out again.
        lease_seconds: How long a worker may be silent before its trials go to others.
        worker: This worker's name; by default one that tells where it runs.
    """

    def __init__(
        self,
        study: Study,
        store: StudyStore,
        *,
        checkpoints: Checkpoints,
        retries: int,
        retry_on: tuple[type[Exception], ...] = (),
        lease_seconds: float = LEASE_SECONDS,
        worker: str | None = None,
    ) -> None:
        """Read nothing yet: the first question brings the history up to date."""
        self.study = study
        self.store = store
        self.checkpoints = checkpoints
        self.retries = retries
        self.retry_on = retry_on
        self._given_name = worker
        self._lease_seconds = lease_seconds
        self._standing = Standing(
            study, store, checkpoints, worker=worker or lease.worker_name(), lease_seconds=lease_seconds
        )
        self._lock = self._standing.lock
        self._held = self._standing.held
        self._silence = Silence()
        self._heartbeat = lease.Heartbeat(self._renew, lease_seconds / 4)

    # What is known.

    def history(self) -> History:
        """Return the history, in step with the storage."""
        return self._standing.read()

    @property
    def last_known(self) -> History:
        """The history as it was when the storage was last asked."""
        return self._standing.history

    def end_of_search(self) -> str | None:
        """Return why no new trial will be started, in words, or None while there will be."""
        return self._standing.end_of_search()

    def running(self) -> list[int]:
        """Return the trials that are trained now: held here, or by a worker elsewhere whose lease runs."""
        return self._standing.running()

    def has_reported(self, trial: Trial) -> bool:
        """Return whether the present attempt of a trial has reported an epoch."""
        return self.history()[trial.number].last_epoch > 0

    def done(self) -> bool:
        """Return whether the search is over: nothing to start, and nothing unfinished anywhere."""
        with self._lock:
            history = self.history()
            return self.end_of_search() is not None and (self.stopped or not history.unfinished)

    @property
    def stopped(self) -> bool:
        """Whether this process hands out no more trials."""
        return self._standing.stopped

    def stop(self) -> None:
        """Hand out no more trials in this process."""
        self._standing.stopped = True

    # The way of a configuration.

    def ask(self) -> Trial | None:
        """Hand out a trial: one whose worker is gone, else a new one; None when there is nothing to do now.

        Raises:
            CheckpointError: The trial whose turn it is cannot go on from its checkpoint; nothing was changed.
        """
        with self._lock:
            while True:
                history = self.history()
                if self._standing.is_full():
                    return None
                try:
                    offer = next_offer(self._standing, self.retries)
                except OldView:
                    continue
                if offer is None:
                    return None
                if self.store.acquire(offer, history.acquisitions) or was_handed_out(self._standing, offer):
                    return self._hold(offer)
                # Another process was handed something first: decide again.

    def _hold(self, offer: Assignment) -> Trial:
        """Return the trial that was handed out, as it is held from now on."""
        row = self.history()[offer.number].row
        self._held[row.number] = _held(row.attempts, row.start_epoch)
        if self.store.outlives_process:
            lease.release_at_exit(self)
            self._heartbeat.start()
        logger.debug("trial %d, attempt %d: %s", row.number, row.attempts, row.params)
        path = checkpoint_of(self._standing, row)
        return Trial(
            self,
            row.number,
            self.study.space.params_of(row.params),
            definition=self.study.space.definition_of(row.params),
            attempt=row.attempts,
            start_epoch=row.start_epoch,
            resume_from=None if path is None else str(path),
        )

    def _renew(self) -> None:
        with self._lock:
            held = [(number, held.attempt) for number, held in self._held.items()]
        try:
            if held:
                self.store.renew(held, self._lease_seconds)
        except StorageError as error:  # the next beat tries again; a lease outlasts three missed ones
            logger.warning("leases were not renewed: %s", error)

    # The way of a metric.

    def report(self, trial: Trial, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool) -> bool:
        """Record an epoch and judge the trial; see ``Trial.report``."""
        values = plain_metrics(metrics)
        with self._lock:
            held = self._holding(trial)
            if held is None:
                return False
            epoch = next_epoch(trial.number, epoch, held.epoch)
            value = values.get(trial.objective.metric)
            if value is None and not (held.has_objective or objective_follows):
                raise MetricNotFound(trial.objective.metric, values)
            held.has_objective |= value is not None
            held.epoch = epoch
            reporting.record(self._standing, trial.number, held, values, value)
            return held.stopping

    def _holding(self, trial: Trial) -> Held | None:
        """Return what is held of a trial; None, with a warning, when it is over."""
        held = self._held.get(trial.number)
        if held is None and self._is_visiting(trial):
            held = self._held[trial.number] = _held(trial._attempt, trial.start_epoch)
        if held is None or held.attempt != trial._attempt:
            logger.warning("trial %d is over: this report was not recorded", trial.number)
            return None
        return held

    def _is_visiting(self, trial: Trial) -> bool:
        """Return whether the trial was handed out elsewhere and came here through a process boundary."""
        row = self.history()[trial.number].row
        return row.worker != self._standing.worker and row.attempts == trial._attempt and not row.state.is_final

    def _present(self, trial: Trial) -> Held | None:
        """Return what is held of a trial, None when this attempt of it is not held here."""
        held = self._held.get(trial.number)
        return held if held is not None and held.attempt == trial._attempt else None

    # The way of a checkpoint.

    def save_is_due(self, trial: Trial) -> bool:
        """Return whether the trial should be saved now; see ``Trial.save_is_due``."""
        with self._lock:
            held = self._present(trial)
            return held is not None and saving.is_due(self._standing, trial.number, held)

    def save(self, trial: Trial, write: Write, suffix: str) -> bool:
        """Write a checkpoint of the last reported epoch and register it; see ``Trial.save``."""
        with self._lock:
            held = self._holding(trial)
            if held is None:
                return False
            if not held.epoch:
                raise InvalidArgument(f"trial.save() must follow a report, but trial {trial.number} has none yet.")
            epoch = held.epoch
        return saving.save(self._standing, trial.number, held, epoch, write, suffix)

    def start_over(self, trial: Trial) -> None:
        """Let a training that is under way count from its first epoch; see ``Trial.start_over``."""
        with self._lock:
            held = self._holding(trial)
            if held is not None:
                logger.warning("trial %d starts afresh: its training did not go on from its checkpoint", trial.number)
                held.epoch, held.has_objective = 0, False
                self.store.update(trial.number, held.attempt, checkpoint=None, start_epoch=0)

    def restart(self, number: int) -> None:
        """Let a trial train from its start again; see ``Tuner.restart``."""
        with self._lock:
            row = self.history()[number].row
            self.store.update(
                number, row.attempts, state=TrialState.RUNNING, decision=None, stop_reason=None, checkpoint=None,
                start_epoch=0, lease_until=0.0,
            )  # fmt: skip
            self.checkpoints.clear(number)

    # The end of a trial.

    def end(self, trial: Trial) -> None:
        """End a trial whose body is over, as its verdict says."""
        with self._lock:
            held = self._present(trial)
            if held is None:
                return
            reporting.flush(self._standing, held)
            known = self.history()[trial.number]
            del self._held[trial.number]
            if known.row.attempts != trial._attempt:
                return
            finish(self._standing, known.row, verdict_at_end(self._standing, trial.number))
            if known.has_reports:
                self._silence.broken()
            else:
                self._silence.goes_on()

    def fail(self, trial: Trial, error: BaseException | str) -> bool:
        """End a trial whose body raised, or give it back when the error is one to retry on; return whether it was."""
        if isinstance(error, CheckpointError):
            self.release(trial)
            return False
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        with self._lock:
            held = self._present(trial)
            if held is None:
                return False
            reporting.flush(self._standing, held)
            known = self.history()[trial.number]
            del self._held[trial.number]
            self._silence.broken()
            if known.row.attempts != trial._attempt:
                return False
            if isinstance(error, self.retry_on):
                failures = known.row.failed_attempts + 1
                if failures <= self.retries:
                    logger.warning("trial %d is to be tried again after %s", trial.number, text)
                    return self.store.update(trial.number, held.attempt, lease_until=0.0, failed_attempts=failures)
                text += f" (attempt {trial._attempt}, and retries={self.retries})"
            finish(self._standing, known.row, Verdict(TrialState.FAILED, text))
            return False

    def release(self, trial: Trial) -> None:
        """Give a trial back that was interrupted: the next to ask goes on with it, and it counts as no loss."""
        with self._lock:
            held = self._held.pop(trial.number, None)
            if held is not None:
                reporting.flush(self._standing, held)
                self.store.update(trial.number, held.attempt, lease_until=0.0)

    def lose(self, worker: str) -> None:
        """Let the trials of a worker that is known to be dead be handed out again, without waiting for leases."""
        with self._lock:
            history = self.history()
            for number in sorted(history.unfinished):
                row = history[number].row
                if row.worker == worker and row.state is TrialState.RUNNING and row.lease_until:
                    self.store.update(number, row.attempts, lease_until=LONG_AGO)

    def release_all(self) -> None:
        """Give back every trial that is held, at the end of the process."""
        with self._lock:
            for number, held in list(self._held.items()):
                del self._held[number]
                self.store.update(number, held.attempt, lease_until=0.0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same study in the process that unpickles it; leases stay with the process that has them."""
        return _reopen, (self.study, self.store, self._arguments())

    def through(self, store: StudyStore, checkpoints: Checkpoints, worker: str) -> Coordinator:
        """Return one for a worker elsewhere, of that name, which reaches the same study by other ways."""
        return Coordinator(self.study, store, **self._arguments() | {"checkpoints": checkpoints, "worker": worker})

    def _arguments(self) -> dict[str, Any]:
        return {
            "checkpoints": self.checkpoints, "retries": self.retries, "retry_on": self.retry_on,
            "lease_seconds": self._lease_seconds, "worker": self._given_name,
        }  # fmt: skip


def _reopen(study: Study, store: StudyStore, arguments: dict[str, Any]) -> Coordinator:
    return Coordinator(study, store, **arguments)


def _held(attempt: int, start_epoch: int) -> Held:
    return Held(attempt, since=time.perf_counter(), epoch=start_epoch, has_objective=start_epoch > 0)
