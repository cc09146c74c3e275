"""One training run of CatBoost, from its first callback to its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hpo_plugins.integrations import _catboost_state as state
from hpo_plugins.integrations._shared import begins_elsewhere

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.trial import Phase, TrainingHandle

_HOW = "Pass **snapshot(trial) to fit, and no snapshot_file of your own."


class Run:
    """One call of ``fit`` with a ``TrialCallback``.

    CatBoost turns every exception of a callback into a ``CatBoostError`` that contains it as text. So an exception is
    kept, the training run is stopped, and the exception is raised where CatBoost has ended the training run.

    Args:
        trial: The trial or fold.
        callback: The callback.
        call: The call of ``fit``.
    """

    def __init__(self, trial: TrainingHandle, callback: Any, call: state.Call) -> None:
        """Take part in the training run to its end."""
        self.call = call
        self._trial = trial
        self._phase: Phase | None = None
        self._error: BaseException | None = None
        self._stop = False  # whether the trial stops the training run
        self._is_ended = False  # whether another callback has
        self._rounds = 0  # of this call, with those of a snapshot
        self._written = _stamp(call.snapshot)
        callbacks = list(call.wrapper._callbacks)  # noqa: SLF001 - the wrapper asks no callback after one that stops
        place = next(place for place, each in enumerate(callbacks) if each is callback)
        self._later, self._others = callbacks[place + 1 :], callbacks[:place] + callbacks[place + 1 :]
        call.wrapper._callbacks = [callback]  # noqa: SLF001
        original = getattr(call.model, state.AT_END)

        def at_end() -> None:
            call.model.__dict__.pop(state.AT_END, None)
            original()
            self._end()

        call.model.__dict__[state.AT_END] = at_end

    def after_iteration(self, info: Any) -> bool:
        """Report a round, show it to the other callbacks, and return whether to continue."""
        is_first, self._rounds = self._phase is None, info.iteration
        try:
            phase = self._phase = self._phase or self._begin(info.iteration - 1)
            if phase.is_over:
                self._stop = True
                return False
            self._save_the_round_before()
            self._stop = self._trial.report(phase.begin + info.iteration, self._metrics(info))
        except BaseException as error:  # noqa: BLE001 - it is raised when CatBoost has ended the training run
            self._error, self._stop = error, True
            return False
        others = self._others
        if is_first:  # the wrapper shows this round to the others, unless it ends here
            others = self._later if self._stop else []
        answers = [each.after_iteration(info) for each in others]  # all of them see the round
        self._is_ended = not all(answers)
        return not (self._stop or self._is_ended)

    def _begin(self, trained: int) -> Phase:
        """Begin a phase of the trial; the model has this many rounds of an earlier attempt."""
        trial, call = self._trial, self.call
        plugin, given = trial.plugin, self.call.given
        if plugin.can_pause and call.snapshot is None:
            raise InvalidArgument(
                "The strategy pauses training runs, and CatBoost resumes them only from its own snapshot. Pass it to "
                "fit: model.fit(..., callbacks=[TrialCallback(trial)], **snapshot(trial)), with snapshot from "
                "hpo_plugins.integrations.catboost. Or use a strategy with pause=False."
            )
        phase = plugin.begin_phase(given, continues=call.init_model is not None)
        if phase.is_over or trained == (phase.trained if phase.restores else 0):
            return phase
        if trained or plugin.can_pause or given or phase.number:
            raise begins_elsewhere(trial.trial_number, phase.start, phase.begin + trained, _HOW, "round")
        plugin.start_over()
        return plugin.begin_phase(0, continues=True)

    def _metrics(self, info: Any) -> dict[str, float]:
        if not self.call.is_computed(info.iteration):
            return {}
        return {f"{data}-{name}": v[-1] for data, log in info.metrics.items() for name, v in log.items() if v}

    def _save_the_round_before(self) -> None:
        """Save the round before, whose snapshot CatBoost has written by now."""
        file, written = self.call.snapshot, self._written
        self._written = _stamp(file)
        is_new = self._written not in (written, None)
        if self._rounds > 1 and self._trial.save_is_due and (is_new or _keeps_best(self._trial)):
            self._save(self._rounds - 1, file if is_new else None)

    def _save(self, rounds: int, file: Path | None, model: Any = None) -> None:
        call, rounds = self.call, self.call.given + rounds
        kind = type(call.model).__name__
        self._trial.save(
            lambda path: state.write(path, rounds, kind, snapshot=file, init=call.init_model, model=model),
            suffix=".zip",
        )

    def _end(self) -> None:
        """End the phase: CatBoost has ended the training run, and its model is complete."""
        model, file, phase = self.call.model, self.call.snapshot, self._phase
        ours = file is not None and file == state.working_file(self._trial)
        try:
            if self._error is not None:
                raise self._error
            if phase is None or phase.is_over:
                self._train_nothing()
                return
            is_complete = self._is_ended or not self._stop or self._rounds >= self.call.total
            self._trial.plugin.end_phase(is_complete=is_complete)
            if self._trial.save_is_due:
                self._save(self._rounds, file if ours else None, model)
            finish_checkpoint(self._trial, model)
        finally:
            if ours and file is not None:
                file.unlink(missing_ok=True)

    def _train_nothing(self) -> None:
        """Leave the model as it was before the one round without which CatBoost has no model."""
        call, phase = self.call, self._phase
        if phase is None:
            return
        before = call.init_model
        if phase.checkpoint is not None and not phase.restores:
            before = state.load(Path(phase.checkpoint), self._trial.trial_number, init=True)
        if before is not None and not (phase.restores and self._rounds > 1):
            call.model.load_model(blob=bytes(before._serialize_model()))  # noqa: SLF001 - save_model writes files only
        elif self._rounds > 1:
            call.model.shrink(ntree_end=call.given + self._rounds - 1)


def finish_checkpoint(trial: TrainingHandle, model: Any) -> None:
    """Add the trained model to the checkpoint of the trial's best round; there was none yet when that was written."""
    lease = trial.plugin.visit()
    best = lease.session.history[trial.trial_number].row.progress.best_checkpoint
    if best is not None and (path := lease.session.checkpoints.find(trial.trial_number, best)) is not None:
        state.add_model(path, model)


def _keeps_best(trial: TrainingHandle) -> bool:
    return trial.plugin.visit().session.checkpoints.policy == "best"


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file is written anew, None without a file."""
    if file is None:
        return None
    try:
        found = os.stat(file)  # noqa: PTH116 - one call
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
