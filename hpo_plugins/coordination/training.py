"""One training run within an attempt: of the trial, or of one of its folds.

It counts epochs, phases and checkpoints; the lease handles the trial as a whole.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hpo_plugins._validation import is_text, refusal
from hpo_plugins.coordination.attempt import Attempt, AttemptBase
from hpo_plugins.coordination.phases import Phase, Phases
from hpo_plugins.coordination.process import end_if_told
from hpo_plugins.coordination.saver import Saver
from hpo_plugins.errors import InvalidArgument, InvalidReport, MetricNotFound
from hpo_plugins.records import MAX_EPOCH, Progress, plain_metrics
from hpo_plugins.storage.checkpoints import Write

logger = logging.getLogger("hpo_plugins")


class Training:
    """One training run of an attempt.

    Args:
        lease: The attempt.
        fold: The fold, None in a trial without folds.
        start_epoch: The epoch that it resumes from, 0 for a fresh start.
        phases: The epochs after which its phases began in earlier attempts.
        is_done: Whether it ended before this attempt.

    Attributes:
        epoch: The last reported epoch.
        stopped_at: The epoch whose report was answered with stop, None if none was.
        answered: The last epoch whose report was answered in this process.
        may_have_been_left: Whether the user's code has asked whether to stop after a phase ended.
        has_shown_checkpoint: Whether the user's code has read from which checkpoint to resume.
        state_of_phases: Data of callbacks for later checkpoints, by phase number.
    """

    def __init__(
        self,
        lease: AttemptBase,
        fold: int | None,
        start_epoch: int,
        phases: tuple[int, ...],
        *,
        is_done: bool = False,
    ) -> None:
        """Start the training run's clock."""
        self.lease = lease
        self.fold = fold
        self.start_epoch = start_epoch
        self.is_done = is_done
        self.epoch = start_epoch
        self.stopped_at: int | None = None
        self.answered = 0
        self.has_shown_checkpoint = False
        self._has_saved = False
        self.state_of_phases: dict[int, Any] = {}
        self._phases = Phases(0 if is_done else start_epoch, phases)
        self._is_checked = False  # whether its kind, fold or not, was checked against the trial
        self._may_begin = True
        self._weights: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()  # of the last phase
        self._begun_at = 0  # the epoch from which the phase trains; it has nothing to save yet
        self._others_epoch = 0  # the last epoch that another process has reported in this attempt
        self._has_objective = start_epoch > 0
        further = lease.session.config.further_objectives
        self._judged = (lease.objective.metric, *(objective.metric for objective in further))
        self.may_have_been_left = False  # the user's code has asked whether to stop after a phase
        self._saver = Saver(lease, fold) if isinstance(lease, Attempt) else None  # a rank that follows saves nothing
        self._training_since = lease.session.clock()
        self._visits = lease.visits

    @property
    def is_fold(self) -> bool:
        """Whether it is a fold, declared by ``Trial.folds``."""
        return self.fold is not None

    @property
    def must_stop(self) -> bool:
        """Whether it must stop."""
        return self.is_done or self.lease.journal.stops(self.fold)

    @property
    def name(self) -> str:
        """Its name in messages."""
        trial = f"trial {self.lease.number}"
        return trial if self.fold is None else f"fold {self.fold} of {trial}"

    @property
    def resume_from(self) -> str | None:
        """Path of the checkpoint to resume from now; None without one, and in earlier and later phases."""
        phases, path = self._phases, self.lease.resume_from
        return path if phases.is_resuming and phases.interrupted == len(phases.begins) and not self.is_done else None

    @property
    def is_resuming(self) -> bool:
        """Whether the interrupted phase has not begun yet in this attempt."""
        return self._phases.is_resuming and self.lease.resume_from is not None

    def _catch_up(self) -> None:
        """Take over the progress of other processes in this attempt, if this process has begun to visit it."""
        if self._visits == self.lease.visits:
            return
        self._visits = self.lease.visits
        trial = self.lease.session.history[self.lease.number]
        row, epoch = trial.row, trial.last_epoch_of(self.fold or 0)
        self.epoch = self._others_epoch = max(self.epoch, epoch)
        begun = max(0 if self.is_fold else row.phase, int(epoch > 0))
        self._phases.begins = list(row.progress.phases[:begun]) or [0] * begun
        self._may_begin = not begun

    # Phases.

    def begin_phase(self, first: int, weights: Iterable[object], *, continues: bool) -> Phase:
        """Begin a phase; see ``Trial.begin_phase``."""
        weights = list(weights)
        with self.lease.session.lock:
            if not self.lease.check_held("training"):  # a trial that another worker has taken over trains nothing
                return Phase(0, first, first, is_over=self.lease.journal.is_lost, restores=False)
            self._catch_up()
            number = len(self._phases.begins)
            try:
                self.lease.check_fold(is_fold=self.is_fold)
                self._check_same_model(weights, continues=continues)
            except InvalidReport as error:
                self.lease.journal.refuse(error)
                raise
            self._may_begin = False
            self._weights = weakref.WeakValueDictionary({id(each): each for each in weights})
            path = self.lease.resume_from if self._phases.is_resuming else None
            phase = self._phases.begin(self.epoch if number else first, must_stop=self.must_stop)
            phase.checkpoint = path
            self._begun_at = phase.start
            self.epoch = max(self.epoch, phase.start)
            is_at_once = self.lease.is_visiting and self.is_fold  # with other folds; the row describes one of them only
            if (number or phase.begin or self.lease.is_visiting) and not is_at_once:
                self._update_progress(phases=self._phases.known)
            return phase

    def _update_progress(self, *, phases: tuple[int, ...]) -> None:
        progress = self.lease.session.history[self.lease.number].row.progress
        self.lease.update(progress=replace(progress, phases=phases), phase=len(self._phases.begins))

    def _check_same_model(self, weights: list[object], *, continues: bool) -> None:
        """Raise InvalidReport if a phase begins with a model that does not continue the phase before."""
        is_same = continues or self._may_begin or any(self._weights.get(id(each)) is each for each in weights)
        if self._phases.begins and not is_same and not self._phases.is_resuming:
            raise InvalidReport(self._begins_anew())

    def follow_phase(self, phase: Phase) -> None:
        """Register a phase of another rank, which finds its checkpoint here; see ``Trial.follow_phase``."""
        self._phases.begins.append(phase.begin)
        if phase.checkpoint is not None and self.lease.resume_from is not None:
            phase.checkpoint = self.lease.resume_from  # on another machine than rank 0's, this rank's own copy

    def end_phase(self, *, is_complete: bool) -> None:
        """Register the end of a phase; see ``Trial.end_phase``."""
        self._phases.is_complete = is_complete

    @property
    def is_complete(self) -> bool:
        """Whether the training run has ended by itself, with no phase left, whatever the decision."""
        phases = self._phases
        return bool(phases.begins) and phases.is_complete and not phases.is_waiting and not self.may_have_been_left

    def should_stop(self) -> bool:
        """Answer the user's code whether to stop; a phase that it then skips is unknown here."""
        stops = self.must_stop
        self.may_have_been_left |= stops and self._phases.is_complete
        return stops

    def next_phase(self) -> None:
        """Allow any model in the next phase; see ``Trial.next_phase``."""
        self._may_begin = True

    def _begins_anew(self) -> str:
        return (
            f"Another training begins in {self.name}, which has trained {self.epoch} epochs, with a "
            "model that does not continue the one before. For cross-validation, loop over trial.folds(n) and give "
            "each training its own fold; in scikit-learn's cross_val_score and GridSearchCV, where the folds cannot "
            "be told apart, write that loop instead. To continue in a second phase, train the same model again "
            "(XGBoost: pass xgb_model=), or call trial.next_phase() before if it is a copy. Another configuration is "
            "another trial."
        )

    # Reports.

    def report(self, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool) -> bool:
        """Record an epoch, judge the trial, and return whether to stop; see ``Trial.report``."""
        lease, session = self.lease, self.lease.session
        with session.lock:
            if self.is_done:
                return True
            if not lease.check_held("report"):
                return False
            self._catch_up()
            metric = lease.objective.metric
            try:
                if not self._is_checked:
                    lease.check_fold(is_fold=self.is_fold)
                    self._warn_of_unread_checkpoint()
                    self._is_checked = True
                values, left_out = plain_metrics(metrics, metric)
                for name, reason in left_out.items():
                    session.warn_once(f"metric {name}", f"{reason} It is not recorded.")
                is_plain = type(epoch) is int and self.epoch < epoch <= MAX_EPOCH and epoch > self._others_epoch
                number = epoch if is_plain else self._next_epoch(epoch)
                value = next((values[name] for name in self._judged if name in values), None)
                if value is None and not (self._has_objective or objective_follows):
                    raise MetricNotFound(metric, values)
            except InvalidReport as error:
                lease.journal.refuse(error)
                raise
            if not self.answered:
                self._check_unit(number)
            if self.stopped_at is not None and number > self.stopped_at and not self._phases.begins:
                session.warn_once(
                    "report after stop",
                    f"{self.name} was told to stop at epoch {self.stopped_at} and reports epoch {number}: end the loop "
                    "when trial.report() returns True.",
                )
            self._has_objective |= value is not None
            self.epoch = number
            now = session.clock()
            lease.journal.report(self.fold, number, value, values, now - self._training_since)
            self._training_since += session.clock() - now  # writing and judging are not training
            if end_if_told():
                lease.journal.interrupt()
            stops = self.must_stop
            if stops and self.stopped_at is None:
                self.stopped_at = number
            self.answered = number
            session.answered.notify_all()
            return stops

    def record(self, metrics: Mapping[str, Any]) -> bool:
        """Record metrics of the trial as a whole, and return whether to stop; see ``Trial.record``."""
        lease, session = self.lease, self.lease.session
        with session.lock:
            if not lease.check_held("record"):
                return False
            values, left_out = plain_metrics(metrics, "")
            if left_out:
                raise InvalidReport(next(iter(left_out.values())))
            lease.journal.record(values)
            return self.must_stop

    def _warn_of_unread_checkpoint(self) -> None:
        """Warn once if a loop of the user's own may begin anew in a trial that is resumed."""
        if self.is_resuming and not self._phases.begins and not self.has_shown_checkpoint:
            self.lease.session.warn_once(
                "checkpoint not read",
                f"{self.name} resumes after epoch {self.start_epoch}, but this training run has not read "
                "trial.resume_from, the path of its checkpoint: if it begins anew, its curve is wrong. Load what you "
                "have saved from there if it is not None, and count epochs from trial.start_epoch + 1.",
            )

    def warn_if_paused_without_checkpoint(self) -> None:
        """Warn once if a loop of the user's own is paused and has saved nothing."""
        if not (self._has_saved or self._phases.begins):
            self.lease.session.warn_once(
                "pause without checkpoint",
                f"{self.name} is paused after epoch {self.epoch}, and trial.save() was not called although "
                "trial.save_is_due was true: when it continues, trial.resume_from is None. Save after each report for "
                "which trial.save_is_due is true, or use pause=False.",
            )

    def _check_unit(self, number: int) -> None:
        """Warn if the first report is beyond the last epoch; the run probably counts in another unit."""
        resource = self.lease.session.config.strategy.max_resource
        if not self.start_epoch and resource is not None and number > resource:
            self.lease.session.warn_once(
                "unit of epochs",
                f"The first report of {self.name} is of epoch {number}, and max_resource={resource}: no trial is "
                "compared with others before its end. max_resource counts what the training reports: epochs, boosting "
                "rounds (with those of a model that is continued) or, with evaluations by steps, steps. Set it, and "
                "min_resource, in that unit.",
            )

    def _next_epoch(self, epoch: Any) -> int:
        """Return the epoch of a report as an int.

        Raises:
            InvalidReport: It is not a whole number from 1 on, or precedes the last report.
        """
        try:
            number = epoch.__index__()
        except (AttributeError, TypeError):
            number = 0
        if isinstance(epoch, bool) or not 1 <= number <= MAX_EPOCH:
            raise InvalidReport(
                f"epoch must be a whole number from 1 on (completed epochs), at most 2**53, but got epoch={epoch!r}."
            )
        if number < self.epoch or number <= self._others_epoch:
            raise InvalidReport(
                f"epoch must not go backwards, but got epoch={number} after epoch={self.epoch} in "
                f"{self.name}. If the training continues in a second phase, count on from the last "
                "epoch (Keras: initial_epoch; a loop of your own: from trial.start_epoch). If it is another fold, "
                "loop over trial.folds(n) and report to the fold. Another configuration is another trial."
            )
        return int(number)

    # Checkpoints.

    def is_save_due(self) -> bool:
        """Return whether the training run should be saved now; see ``Trial.save_is_due``."""
        if self._saver is None or self.is_done:
            return False
        with self.lease.session.lock:
            return self.epoch > self._begun_at and self._saver.is_due(self.epoch)

    def save(self, write: Write, suffix: str) -> bool:
        """Write a checkpoint of the last reported epoch; see ``Trial.save``."""
        if not callable(write):
            raise refusal("write", write, "a function that writes to the path that it is called with")
        if not isinstance(suffix, str) or not is_text(suffix) or set(suffix) & set("/\\\0"):
            raise refusal("suffix", suffix, "the end of a file name, such as '.npz'")
        lease = self.lease
        with lease.session.lock:
            self._has_saved = True
            if self._saver is None or not lease.check_held("checkpoint"):
                return False
            self._catch_up()
            if not self.epoch:
                raise InvalidArgument(f"trial.save() must follow a report, but trial {lease.number} has none yet.")
            epoch = self.epoch
        return self._saver.save(epoch, write, suffix)

    def start_over(self) -> None:
        """Count from the first epoch again; see ``Trial.start_over``."""
        with self.lease.session.lock:
            if self.lease.check_held("start"):
                self._catch_up()
                logger.warning("trial %d starts from the beginning instead of from its checkpoint", self.lease.number)
                self.epoch, self._has_objective = 0, False
                self._phases = Phases()
                progress = self.lease.session.history[self.lease.number].row.progress
                self.lease.update(progress=Progress(fold=progress.fold), phase=0)

    def why_incomplete(self) -> str | None:
        """Return why this attempt did not reach the epoch of its checkpoint, None if it did."""
        if not self.is_resuming or not self._phases.begins:
            return None
        return (
            f"it was interrupted in phase {self._phases.interrupted} at epoch {self.start_epoch}, but the script has "
            f"begun only {len(self._phases.begins)} phases, which were over: make the same calls of fit again"
        )
