"""The one place where a trial is handed out, judged and ended.

Every decision is made on the history as the storage has it, and written before it is acted on. What must hold
between processes is held by the storage (see ``storage/base.py``); the lock here keeps the threads of one process
apart.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_plugins import lease
from hpo_plugins.checkpoints import Checkpoints, Write
from hpo_plugins.errors import CheckpointError, InvalidArgument, MetricNotFound, NothingReported, StorageError
from hpo_plugins.held import Held, next_epoch
from hpo_plugins.history import History
from hpo_plugins.records import HandOut, ReportRow, TrialRow, TrialState, decode_metrics, plain_metrics
from hpo_plugins.storage import StudyStore
from hpo_plugins.strategies import Judge, Resume, Start, Verdict
from hpo_plugins.study import Study
from hpo_plugins.trial import Trial

logger = logging.getLogger("hpo_plugins")

LONG_AGO = 1.0
"""A lease that ran out long ago, by any clock; 0 is one that was given back."""
SILENT_TRIALS = 5
"""A search whose first trials all end without a report is ended after this many."""


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
        lease_seconds: float = lease.LEASE_SECONDS,
        worker: str | None = None,
    ) -> None:
        """Read nothing yet: the first question brings the history up to date."""
        self.study = study
        self.store = store
        self.retries = retries
        self.stopped = False
        self.retry_on = retry_on
        self.checkpoints = checkpoints
        self._history = study.new_history(checkpoints.root)
        self._read_at = time.perf_counter()
        self._lock = threading.RLock()
        self._held: dict[int, Held] = {}
        self._silent: int | None = 0  # trials that ended without a report; None once one has reported
        self._given_name = worker
        self._worker = worker or lease.worker_name()
        self._lease_seconds = lease_seconds
        self._heartbeat = lease.Heartbeat(self._renew, lease_seconds / 4)

    # What is known.

    def history(self) -> History:
        """Return the history, in step with the storage."""
        with self._lock:
            self._history.apply(self.store.changes(self._history.revision))
            self._read_at = time.perf_counter()
            return self._history

    @property
    def last_known(self) -> History:
        """The history as it was when the storage was last asked."""
        return self._history

    def end_of_search(self) -> str | None:
        """Return why no new trial will be started, in words, or None while there will be."""
        limit = self.study.trial_limit
        if self.stopped:
            return "stop() was called"
        if (reason := self._enough()) is not None:
            return reason
        if limit is None or len(self._history) < limit:
            return None
        if limit == self.study.space.size:
            return f"space exhausted: all {limit} configurations have been tried"
        return f"max_trials={limit} have been started"

    def _enough(self) -> str | None:
        """Return the completion criterion that is met, or that the time is used up."""
        return self.study.enough(self._history, self._runtime())

    def _runtime(self) -> float:
        """Return how long the study has been worked on, in seconds; it goes on while a trial is held here."""
        return self._history.runtime + (time.perf_counter() - self._read_at if self._held else 0.0)

    def running(self) -> list[int]:
        """Return the trials that are trained now: held here, or by a worker elsewhere whose lease runs."""
        rows = [self._history[number].row for number in sorted(self._history.unfinished)]
        return [
            row.number
            for row in rows
            if row.state is TrialState.RUNNING and (row.number in self._held or not self._is_let_go(row))
        ]

    def _is_let_go(self, row: TrialRow) -> bool:
        """Return whether a running trial's worker gave it back or is gone."""
        if row.lease_until in (0, LONG_AGO) or lease.is_gone(row.worker):
            return True
        # While the storage could not be reached, nobody could renew a lease.
        was_away = time.monotonic() - self.store.reachable_since <= self._lease_seconds
        return row.lease_until < self._history.now and not was_away

    def _is_full(self) -> bool:
        most = self.study.max_parallel
        return most is not None and len(self.running()) >= most

    def done(self) -> bool:
        """Return whether the search is over: nothing to start, and nothing unfinished anywhere."""
        with self._lock:
            self.history()
            return self.end_of_search() is not None and (self.stopped or not self._history.unfinished)

    # The way of a configuration.

    def ask(self) -> Trial | None:
        """Hand out a trial: one whose worker is gone, else a new one; None when there is nothing to do now.

        Raises:
            CheckpointError: The trial whose turn it is cannot go on from its checkpoint; nothing was changed.
        """
        with self._lock:
            while True:
                history = self.history()
                if self._is_full():
                    return None
                try:
                    offer = self._abandoned() or self._next()
                except _OldView:
                    continue
                if offer is None:
                    return None
                if not self.store.hand_out(offer, history.hand_outs) and not self._was_handed_out(offer):
                    continue  # another process was handed something first: decide again
                self.history()
                row = history[offer.number].row
                self._held[row.number] = _held(row.attempts, row.start_epoch)
                if self.store.outlives_process:
                    lease.release_at_exit(self)
                    self._heartbeat.start()
                logger.debug("trial %d, attempt %d: %s", row.number, row.attempts, row.params)
                return Trial(
                    self,
                    row.number,
                    self.study.space.params_of(row.params),
                    definition=self.study.space.definition_of(row.params),
                    attempt=row.attempts,
                    start_epoch=row.start_epoch,
                    resume_from=None if row.checkpoint is None else str(self._checkpoint(row)),
                )

    def _was_handed_out(self, offer: HandOut) -> bool:
        """Return whether a hand-out that was refused is there: written before a lost connection, and tried again."""
        history = self.history()
        if offer.number >= len(history) or offer.number in self._held:
            return False
        row = history[offer.number].row
        return (row.worker, row.attempts, row.state) == (offer.worker, offer.attempt, TrialState.RUNNING)

    def _next(self) -> HandOut | None:
        """Return what the strategy would do next: a new trial, or a paused one that goes on."""
        if self.stopped:
            return None
        history = self._history
        may_start = self.end_of_search() is None
        decision = (
            self.study.strategy.next(history, self.study.seed, may_start=may_start) if self._enough() is None else None
        )
        match decision:
            case Start(params):
                return HandOut(len(history), params, 1, 0, self._worker, self._lease())
            case Resume(number):
                return self._again(history[number].row)
        paused = [number for number in history.unfinished if history[number].state is TrialState.PAUSED]
        if len(paused) == len(history.unfinished):  # nobody is left whose results could wake one of them
            for number in sorted(paused):
                reason = self.study.strategy.reason_to_leave(history, number)
                self._finish(history[number].row, Verdict(TrialState.STOPPED, reason))
        return None

    def _again(self, row: TrialRow, *, lost: int | None = None) -> HandOut:
        """Return the offer to go on with a trial that was handed out before."""
        if row.checkpoint is not None:
            self._checkpoint(row)
        lost = row.lost if lost is None else lost
        return HandOut(row.number, row.params, row.attempts + 1, lost, self._worker, self._lease())

    def _checkpoint(self, row: TrialRow) -> Path:
        try:
            return self.checkpoints.find(row.number, row.checkpoint or "")
        except CheckpointError:
            if self.history()[row.number].row == row:
                raise
        raise _OldView  # another process has saved the trial anew, and deleted this checkpoint

    def _abandoned(self) -> HandOut | None:
        """Return the first trial that nobody trains any more, after ending those that need no more training."""
        if self.stopped:
            return None
        for number in sorted(self._history.unfinished - self._held.keys()):
            row = self._history[number].row
            if row.state is not TrialState.RUNNING or not self._is_let_go(row):
                continue
            lost = row.lost if row.lease_until == 0 else row.lost + 1
            frozen = row.start_epoch == self._history[number].last_epoch
            if row.verdict is not None and (row.verdict is not TrialState.PAUSED or frozen):
                self._finish(row, Verdict(row.verdict, row.stop_reason or ""))
            elif (enough := self._enough()) is not None:
                self._finish(row, Verdict(TrialState.STOPPED, enough))
            elif lost > self.retries:
                reason = f"its worker was lost {lost} times, and retries={self.retries}"
                self._finish(row, Verdict(TrialState.FAILED, reason))
            else:
                return self._again(row, lost=lost)
        return None

    def _lease(self) -> float:
        return self._lease_seconds if self.store.outlives_process else math.inf

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
            stored = value if value is not None and math.isfinite(value) else None
            now = time.perf_counter()
            held.unsaved.append(ReportRow(trial.number, held.attempt, epoch, stored, values, now - held.since))
            try:
                self._flush(held)
            except StorageError as error:  # must not end somebody's training of hours: it waits for the next report
                logger.warning("trial %d: epoch %d waits to be recorded: %s", trial.number, epoch, error)
            held.since += time.perf_counter() - now  # writing and judging are not training
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
        return row.worker != self._worker and row.attempts == trial._attempt and not row.state.is_final

    def _flush(self, held: Held) -> None:
        """Write the reports that wait, bring the history in step, and judge each epoch, also those that came late."""
        while held.unsaved:
            row = held.unsaved[0]
            revision = self.store.report(row)
            if revision is None:
                self._take_away(row.number, held)
                return
            del held.unsaved[0]
            if revision == self._history.revision + 1:  # nobody else wrote: no need to read
                self._history.put_report(row)
                self._history.revision = revision
            else:
                self.history()
            value = decode_metrics(row.metrics).get(self._metric(row.number))
            if value is not None and not held.stopping:
                self._judge(row.number, held, row.epoch, value)

    def _take_away(self, number: int, held: Held) -> None:
        logger.warning("trial %d was taken over by another worker and stops here", number)
        held.unsaved.clear()
        held.stopping = True

    def _judge(self, number: int, held: Held, epoch: int, value: float) -> None:
        verdict: Verdict | None = None
        if not math.isfinite(value):
            reason = f"{self._metric(number)} was {value} at epoch {epoch}"
            verdict = Verdict(TrialState.FAILED, reason)
        for judge in self.study.judges:
            verdict = verdict or self._ask(judge, number, epoch)
        if verdict is None and (over := self.study.out_of_time(self._runtime())) is not None:
            verdict = Verdict(TrialState.STOPPED, over)
        if verdict is not None:
            held.stopping, held.verdict = True, verdict.state
            self.store.update(number, held.attempt, verdict=verdict.state, stop_reason=verdict.reason)

    def _ask(self, judge: Judge, number: int, epoch: int) -> Verdict | None:
        """Return a judge's verdict; a defect of the judge's own must not end somebody's training of hours."""
        try:
            return judge.judge(self._history, number, epoch)
        except Exception:
            logger.exception(
                "trial %d goes on: %s could not judge epoch %d; please report this", number, type(judge).__name__, epoch
            )
            return None

    # The way of a checkpoint.

    def save_is_due(self, trial: Trial) -> bool:
        """Return whether the trial should be saved now; see ``Trial.save_is_due``."""
        with self._lock:
            held = self._held.get(trial.number)
            if held is None or held.attempt != trial._attempt or not held.epoch:
                return False
            if held.verdict is TrialState.PAUSED:
                return True
            if self.checkpoints.keeping == "pauses":
                return False
            if held.verdict is TrialState.COMPLETED:
                return self._history.best() == trial.number
            return not held.stopping and self.store.outlives_process and held.clock.due()

    def save(self, trial: Trial, write: Write, suffix: str) -> bool:
        """Write a checkpoint of the last reported epoch and register it; see ``Trial.save``."""
        with self._lock:
            held = self._holding(trial)
            if held is None:
                return False
            if not held.epoch:
                raise InvalidArgument(f"trial.save() must follow a report, but trial {trial.number} has none yet.")
            epoch = held.epoch
        started = time.perf_counter()
        try:  # without the lock: writing may take long, and leases are renewed meanwhile
            path = self.checkpoints.write(trial.number, held.attempt, epoch, write, suffix)
        except OSError as error:
            self._cannot_save(trial.number, held, error)
            return False
        with self._lock:
            try:
                self._flush(held)  # a checkpoint must not be ahead of the reports
                saved = self.store.update(trial.number, held.attempt, checkpoint=path, start_epoch=epoch)
            except StorageError as error:
                self.checkpoints.discard(path)
                self._cannot_save(trial.number, held, error)
                return False
            held.clock.saved(time.perf_counter() - started)
            if saved:
                self.checkpoints.clear(trial.number, but=path)
            else:
                self.checkpoints.discard(path)
                self._take_away(trial.number, held)
            return saved

    def _cannot_save(self, number: int, held: Held, error: Exception) -> None:
        """Let a training go on without a new checkpoint; one that was to be frozen is stopped for good instead."""
        logger.warning("trial %d: epoch %d could not be saved: %s", number, held.epoch, error)
        held.clock.saved(0.0)
        if held.verdict is TrialState.PAUSED:
            held.verdict = TrialState.STOPPED
            with contextlib.suppress(StorageError):  # then the verdict of a pause stands, without its checkpoint
                reason = f"it was to be paused, but its checkpoint could not be written: {error}"
                self.store.update(number, held.attempt, verdict=TrialState.STOPPED, stop_reason=reason)

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
                number, row.attempts, state=TrialState.RUNNING, verdict=None, stop_reason=None, checkpoint=None,
                start_epoch=0, lease_until=0.0,
            )  # fmt: skip
            self.checkpoints.clear(number)

    # The end of a trial.

    def end(self, trial: Trial) -> None:
        """End a trial whose body is over, as its verdict says."""
        with self._lock:
            held = self._held.get(trial.number)
            if held is None or held.attempt != trial._attempt:
                return
            self._flush(held)
            known = self.history()[trial.number]
            del self._held[trial.number]
            if known.row.attempts != trial._attempt:
                return
            if known.row.verdict is not None:
                verdict = Verdict(known.row.verdict, known.row.stop_reason or "")
            elif len(known.curve):
                verdict = Verdict(
                    TrialState.COMPLETED, f"the training ended by itself at epoch {known.curve.epochs[-1]}"
                )
            else:
                verdict = Verdict(TrialState.FAILED, self._silence(trial.number))
            self._finish(known.row, verdict)
            self._silent = None if known.reported or self._silent is None else self._silent + 1
            if self._silent == SILENT_TRIALS:
                raise NothingReported(
                    f"The first {SILENT_TRIALS} trials ended without reporting anything. Give TrialCallback(trial) to "
                    "the training, or call trial.report(epoch, metrics). To leave a configuration out on purpose, call "
                    "trial.fail(reason)."
                )

    def _silence(self, number: int) -> str:
        metric = self._metric(number)
        names = {name for metrics in self._history.record(number).metrics.values() for name in metrics}
        if names:
            return str(MetricNotFound(metric, names))
        return f"the training ended without one report of {metric!r}"

    def _metric(self, number: int) -> str:
        definition = self.study.space.definition_of(self._history[number].row.params)
        return self.study.objective_of(definition).metric

    def fail(self, trial: Trial, error: BaseException | str) -> bool:
        """End a trial whose body raised, or give it back when the error is one to retry on; return whether it was."""
        if isinstance(error, CheckpointError):
            self.release(trial)
            return False
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        with self._lock:
            held = self._held.get(trial.number)
            if held is None or held.attempt != trial._attempt:
                return False
            self._flush(held)
            known = self.history()[trial.number]
            del self._held[trial.number]
            self._silent = None
            if known.row.attempts != trial._attempt:
                return False
            if isinstance(error, self.retry_on):
                failures = known.row.lost + 1
                if failures <= self.retries:
                    logger.warning("trial %d is to be tried again after %s", trial.number, text)
                    return self.store.update(trial.number, held.attempt, lease_until=0.0, lost=failures)
                text += f" (attempt {trial._attempt}, and retries={self.retries})"
            self._finish(known.row, Verdict(TrialState.FAILED, text))
            return False

    def release(self, trial: Trial) -> None:
        """Give a trial back that was interrupted: the next to ask goes on with it, and it counts as no loss."""
        with self._lock:
            held = self._held.pop(trial.number, None)
            if held is not None:
                self._flush(held)
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

    def has_reported(self, trial: Trial) -> bool:
        """Return whether the present attempt of a trial has reported an epoch."""
        return self.history()[trial.number].last_epoch > 0

    def _finish(self, row: TrialRow, verdict: Verdict) -> None:
        if verdict.state is TrialState.PAUSED:
            fields: dict[str, Any] = {"state": verdict.state, "verdict": None, "stop_reason": verdict.reason}
            if row.checkpoint is None:  # a loop that saves nothing can go on without
                fields["start_epoch"] = self._history[row.number].last_epoch
            self.store.update(row.number, row.attempts, **fields)
            logger.debug("trial %d paused: %s", row.number, verdict.reason)
            return
        failed = verdict.state is TrialState.FAILED
        self.store.update(
            row.number,
            row.attempts,
            state=verdict.state,
            verdict=verdict.state,
            stop_reason=verdict.reason,
            error=verdict.reason if failed else None,
            ended_at=True,
        )
        level = logging.WARNING if failed else logging.INFO
        loss = self.history().loss(row.number)
        shown = "" if loss is None else f" {self._metric(row.number)}={self.study.objective.loss(loss):.6g}"
        logger.log(level, "trial %d %s%s: %s", row.number, verdict.state.value, shown, verdict.reason)
        self._tidy(row.number)

    def _tidy(self, ended: int) -> None:
        """Delete the checkpoints that nobody can use after a trial has ended; the best trial's stays."""
        if self.checkpoints.keeping == "keep":
            return
        history = self._history
        best = {history.best(), history.best(ended=True)}  # a better one that still runs may yet fail
        for number in sorted(history.with_checkpoint | {ended}):
            state, checkpoint = history[number].state, history[number].row.checkpoint
            if not state.is_final:  # its worker may be writing there
                continue
            if number in best:
                self.checkpoints.clear(number, but=checkpoint)
            elif checkpoint is None or self.store.drop_checkpoint(number, checkpoint):
                self.checkpoints.clear(number)

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


class _OldView(Exception):
    """A decision was begun on a view of the study that is no longer true: decide again."""


def _reopen(study: Study, store: StudyStore, arguments: dict[str, Any]) -> Coordinator:
    return Coordinator(study, store, **arguments)


def _held(attempt: int, start_epoch: int) -> Held:
    return Held(attempt, since=time.perf_counter(), epoch=start_epoch, has_objective=start_epoch > 0)
