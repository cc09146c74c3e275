"""Tune inside Lightning's ``Trainer.fit``, from ``lightning.pytorch`` or ``pytorch_lightning``.

    Trainer(max_epochs=81, callbacks=[TrialCallback(trial)]).fit(model, train, val)

It works in one process and with ``ddp``, ``ddp_spawn`` and ``ddp_fork``: the objective's metric is averaged over the
ranks, rank 0 reports, and all ranks stop at the same step.

A trial is resumed after a pause or a crash with ``fit(..., ckpt_path=trial.resume_from)``, which is None for a new
trial; ``max_epochs`` stays the total. Model, optimisers, schedulers, loops and random generators are restored, those
of data loaders included: on the CPU, the weights are bit-identical to those of an uninterrupted training run.

A second ``fit`` of the same module is a second phase of the trial: its epochs continue the count. Pass ``ckpt_path`` to
each.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_plugins.integrations import _lightning_ranks as ranks
from hpo_plugins.integrations import _lightning_state as state
from hpo_plugins.integrations import _random_state as random_state
from hpo_plugins.integrations._lightning_state import load_model
from hpo_plugins.integrations._shared import begins_elsewhere, handle_of

from hpo_plugins._validation import boolean
from hpo_plugins.errors import MissingDependency
from hpo_plugins.execution.ranks import publish_address
from hpo_plugins.trial import Phase, TrainingHandle

__all__ = ["TrialCallback", "load_model"]

_NAMESPACES = ("lightning.pytorch", "pytorch_lightning")
_REMEDY = "Pass ckpt_path=trial.resume_from to fit; it is None for a new trial."
Metrics = dict[str, Any]


class _Reporter:
    """The hooks, without a base class: ``Callback`` exists in two packages, and the trainer's own decides which one.

    ``callback_metrics`` contains the last logged values, even from earlier epochs. The hooks therefore read each metric
    where it is fresh: metrics of a validation at its end; metrics that the module logs in its own
    ``on_train_epoch_end``, which plain callbacks see one hook later, at that hook; all others when the epoch ends. The
    epoch is reported, and judged, as soon as the objective is known.
    """

    def __init__(self, trial: TrainingHandle, *, allow_code_in_checkpoints: bool = False) -> None:
        self._trial = handle_of(trial)
        self._allow_code = boolean("allow_code_in_checkpoints", allow_code_in_checkpoints)
        publish_address()
        state.allow_trials_in_checkpoints()
        self._metric = trial.objective.metric
        self._saving = False
        self._stop = False  # whether the trial must stop, which the trainer learns after the epoch
        self._is_ended = False  # whether Lightning or another callback has ended the training run after the last epoch
        self._is_left = True  # whether the trainer's limits ask for another epoch
        self._begun = False
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._first = 0  # the trainer's epoch when the phase began
        self._loaded: dict[str, Any] = {}
        self._random: dict[str, Any] | None = None
        self._saved: list[list[int]] | None = None  # the sizes of the optimizers' groups in the checkpoint
        self._watch: Any = None  # watches what the module loads, until it is removed
        self._limits: tuple[Any, Any] | None = None  # the trainer's, while it trains nothing
        self._forget()

    def _forget(self) -> None:
        self._names_before: set[str] = set()
        self._validation_names: set[str] = set()
        self._late_names: set[str] = set()
        self._validation: Metrics = {}
        self._validated = False
        self._ended: tuple[int, Metrics, bool] | None = None  # epoch, metrics, whether they were reported
        self._batches_before = -1
        self._last_epoch = 0

    @property
    def state_key(self) -> str:
        return "hpo_plugins.TrialCallback"

    def state_dict(self) -> dict[str, Any]:
        return {"random": random_state.capture()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random = state_dict["random"]
        random_state.restore(self._random)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if trainer.state.fn != "fit":
            return
        self._loaded = checkpoint.get("hpo_plugins", {})
        trial, phase = self._trial, self._phase
        is_new = not (phase.number or phase.restores or phase.is_over)
        if is_new or (phase.restores and not self._is_own(phase)):
            self._end_watch()
            raise begins_elsewhere(trial.trial_number, phase.start, state.epochs_of(checkpoint), _REMEDY)
        if phase.restores:
            self._saved = state.optimizers_in(checkpoint)

    def _is_own(self, phase: Phase) -> bool:
        """Return whether the loaded checkpoint is the one that the phase resumes from."""
        own = (phase.start, self._trial.trial_number)
        return (self._loaded.get("epoch"), self._loaded.get("trial", own[1])) == own

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage != "fit":
            return
        trial = self._trial
        ranks.check_ranks(trainer, trial)
        resumed = trial.resume_from
        if resumed is not None:
            state.check(Path(resumed), trial.trial_number, pl_module, allow_code=self._allow_code)
        self._loaded, self._random, self._saved = {}, None, None
        self._stop = self._is_ended = self._begun = False
        self._phase = self._begin_phase(trainer, pl_module)
        if self._phase.is_over:
            self._train_nothing(trainer)
        if resumed is not None and self._phase.restores:
            self._watch = state.refuse_other_modules(pl_module, Path(resumed), trial.trial_number)

    def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.remove()

    def _train_nothing(self, trainer: Any) -> None:
        loop = trainer.fit_loop
        self._limits = loop.min_epochs, loop.epoch_loop.min_steps
        loop.min_epochs = loop.epoch_loop.min_steps = None
        trainer.should_stop = True

    def _begin_phase(self, trainer: Any, pl_module: Any) -> Phase:
        """Begin the phase on rank 0, and inform every rank."""
        trial = self._trial
        phase = ranks.from_rank_zero(trainer, lambda: trial.plugin.begin_phase(0, pl_module.parameters()))
        if not trainer.is_global_zero:
            trial.plugin.follow_phase(phase)
        return phase

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._end_watch()
        phase = self._phase
        if phase.checkpoint is None:
            return
        if self._saved is not None:
            path = Path(phase.checkpoint)
            state.check_optimizers(self._saved, self._loaded, trainer, path, self._trial.trial_number)
        if self._loaded.get("is_ended") and not phase.is_over:
            self._train_nothing(trainer)
        if phase.is_over:  # whether or not it was passed on, since no training needs it
            self._load_weights(pl_module)

    def _load_weights(self, pl_module: Any) -> None:
        """Load the weights of the checkpoint into the module, averaged ones if a callback averages them."""
        if self._phase.checkpoint is not None:
            state.load_weights(Path(self._phase.checkpoint), pl_module, allow_code=self._allow_code)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self._forget()
        trial, phase = self._trial, self._phase
        begins = int(trainer.current_epoch)
        is_new = not (phase.number or phase.restores)
        if (is_new and begins and trainer.ckpt_path is not None) or (phase.restores and not self._is_own(phase)):
            if trial.plugin.can_pause or begins or phase.number:
                raise begins_elsewhere(trial.trial_number, phase.start, begins, _REMEDY)
            if trainer.is_global_zero:
                trial.plugin.start_over()
            self._phase = phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._first = trainer.current_epoch - phase.trained if phase.number else 0
        state.call_after_epochs(trainer, lambda: self._end_epoch(trainer))
        self._begun = True
        state.warn_of_data_and_files(trainer, trial)
        if phase.restores and self._random is not None:
            state.restore_generators(trainer, self._loaded.get("generators", []), self._random)

    def _end_epoch(self, trainer: Any) -> None:
        """Save the epoch if due, and end the training run, at the very end of the epoch."""
        is_trained = self._ended is not None
        self._take_late_metrics(trainer)
        self._is_ended = bool(trainer.should_stop)
        limits = ((trainer.current_epoch, trainer.max_epochs), (trainer.global_step, trainer.max_steps))
        self._is_left = not any(limit not in (None, -1) and done >= limit for done, limit in limits)
        if is_trained:
            self._save(trainer)
        trainer.should_stop |= self._stop

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self._names_before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._validated = True
        self._validation_names |= set(trainer.callback_metrics) - self._names_before
        self._validation = {k: v for k, v in trainer.callback_metrics.items() if k in self._validation_names}

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        if trainer.fit_loop.total_batch_idx == self._batches_before:
            return  # a stop at the start of an epoch leaves an empty epoch
        elsewhere = self._validation_names | self._late_names
        metrics = {k: v for k, v in trainer.callback_metrics.items() if k not in elsewhere} | self._validation
        self._validation = {}
        epoch = self._phase.begin + trainer.current_epoch - self._first + 1
        self._last_epoch = epoch
        is_there = self._on_all_ranks(trainer, metrics)
        if is_there:
            self._report(trainer, epoch, metrics)
        self._ended = (epoch, metrics, is_there)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self._batches_before = trainer.fit_loop.total_batch_idx
        if self._stop:  # the trainer's min_epochs go on: who else ends the training run must be seen
            trainer.should_stop = False

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self._trial.plugin.end_phase(is_complete=self._is_ended or not self._stop or not self._is_left)

    def _save(self, trainer: Any) -> None:
        """Save if due."""
        trial = self._trial
        if not ranks.broadcast(trainer, trial.save_is_due if trainer.is_global_zero else None):
            return
        self._saving = True
        written = False

        def write(path: Path | None) -> None:
            nonlocal written
            written = True
            place = ranks.broadcast(trainer, None if path is None else str(path))
            if place is None:
                return
            try:
                trainer.save_checkpoint(place, weights_only=False)
            except Exception as error:  # PyTorch raises RuntimeError when a disk is full
                raise OSError(f"{type(error).__name__}: {error}") from error

        try:
            if trainer.is_global_zero:
                trial.save(write, suffix=".ckpt")
            if not written:
                write(None)
        finally:
            self._saving = False

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if not self._saving:
            return
        checkpoint["hpo_plugins"] = {
            "trial": self._trial.trial_number,
            "epoch": self._last_epoch,
            "is_ended": self._is_ended,
            "optimizers": [type(optimizer).__name__ for optimizer in trainer.optimizers],
            "generators": state.generator_states(trainer),
        }
        loop = checkpoint["loops"]["fit_loop"]
        if trainer.max_steps != -1:  # otherwise Lightning 2.6 resumes with an empty epoch, and counts it
            progress = loop["epoch_loop.batch_progress"]
            progress["current"] = dict.fromkeys(progress["current"], 0)
            progress["is_last_batch"] = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        self._end_watch()
        state.call_after_epochs(trainer, None)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        state.call_after_epochs(trainer, None)
        if stage == "fit" and not self._begun and not self._phase.is_over:  # the checkpoint has nothing left to train
            self._trial.plugin.end_phase(is_complete=True)
            self._load_weights(pl_module)
        drew = stage == "fit" and self._phase.restores and not self._begun  # Lightning has drawn an epoch's order
        if drew and self._random is not None:
            random_state.restore(self._random)
        if self._limits is not None:
            (trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps), self._limits = self._limits, None
        if trainer.world_size > 1:
            ranks.leave_at_exit()

    def _take_late_metrics(self, trainer: Any) -> None:
        if self._ended is None:
            return
        (epoch, metrics, reported), self._ended = self._ended, None
        self._late_names |= set(trainer.callback_metrics) - set(metrics) - self._validation_names
        late = {k: v for k, v in trainer.callback_metrics.items() if k in self._late_names}
        if not reported:
            self._report(trainer, epoch, metrics | late)
        elif late and trainer.is_global_zero:
            self._trial.report(epoch, late)

    def _on_all_ranks(self, trainer: Any, metrics: Metrics) -> bool:
        """Return whether every rank has the objective; the answer is the same on every rank."""
        is_here = self._metric in metrics
        if trainer.world_size == 1:
            return is_here
        return bool(trainer.strategy.reduce_boolean_decision(is_here, all=True))

    def _report(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        """Report on rank 0, and apply the outcome, errors included, on every rank, so that no rank is left waiting."""
        strategy = trainer.strategy
        if trainer.world_size > 1 and self._on_all_ranks(trainer, metrics):
            value = metrics[self._metric].detach().clone().to(strategy.root_device)
            metrics = metrics | {self._metric: strategy.reduce(value, reduce_op="mean")}
        follows = self._objective_follows(trainer)
        stop = ranks.from_rank_zero(trainer, lambda: self._trial.report(epoch, metrics, objective_follows=follows))
        self._stop = self._stop or stop

    def _objective_follows(self, trainer: Any) -> bool:
        """Return whether the first validation of this fit, and with it perhaps the objective, is still to come."""
        return not self._validated and bool(trainer.enable_validation)


def _callback_class() -> type:
    """Return a ``TrialCallback`` that derives from the ``Callback`` of every package that is loaded."""
    loaded = [name for name in _NAMESPACES if name in sys.modules]
    for name in loaded or _NAMESPACES:
        try:
            bases = [importlib.import_module(name).Callback for name in (loaded or [name])]
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
            continue
        return type("TrialCallback", (_Reporter, *bases), {"__module__": __name__, "__doc__": _DOC})
    missing = ModuleNotFoundError("No module named 'lightning'", name="lightning")
    raise MissingDependency.of(missing, "lightning", "lightning")


_DOC = """Report every epoch to a trial, and end the training when the trial is to stop.

Of several validations within an epoch, the last counts; the sanity check and a separate ``validate()`` do not count.

Args:
    trial: The trial that the tuner yielded, or a fold of it.
    allow_code_in_checkpoints: Resume also from checkpoints that contain more than tensors and plain values. Whoever can
        write to the study's folder of checkpoints can then run any code here: loading such a file executes it.
        Lightning 2.6 wants ``fit(..., weights_only=False)`` as well.

Raises:
    InvalidArgument: The trial is neither.
"""

if TYPE_CHECKING:
    TrialCallback = _Reporter


def __getattr__(name: str) -> Any:
    """Create the class when it is first used, since only then it is known which of the packages is loaded."""
    if name != "TrialCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("TrialCallback", _callback_class())
