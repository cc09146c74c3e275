"""Laws that the callbacks of all frameworks obey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from hpo_plugins.errors import CheckpointError, InvalidArgument, InvalidReport, MetricNotFound
from hpo_plugins.objective import Minimize
from hpo_plugins.records import TrialState
from hpo_plugins.space import Continuous
from hpo_plugins.strategies import Hyperband, Random
from hpo_plugins.testing._studies import expire_lease, save_always
from hpo_plugins.trial import Trial
from hpo_plugins.tuner import Tuner


class Crash(Exception):
    """Ends a training run in the middle of an epoch, as a killed process does."""


class Framework:
    """One framework as the laws use it: one small training run, which two calls repeat in every bit.

    Attributes:
        metric: The name of the objective, which is minimized and differs from epoch to epoch.
        callback: The class ``TrialCallback``.
        epochs: Epochs of a full training run; at least 4.
        space: The parameters that ``fit`` uses.
    """

    metric: str
    callback: Any
    epochs: int = 6
    space: ClassVar[Mapping[str, Any]] = {"rate": Continuous(1e-3, 0.5, "log")}

    def fit(self, handle: Any, *, epochs: int, crash_after: int | None = None, model: Any = None) -> Any:
        """Train with a ``TrialCallback`` on a trial or a fold, as its users do, and return the model.

        Args:
            handle: The trial or fold; ``handle.params`` are the parameters.
            epochs: How many epochs or rounds this call trains in all.
            crash_after: After how many epochs of the trial, over all calls, to raise ``Crash`` from the framework.
            model: The model of the call before, which this one continues.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit.")

    def load(self, record: Any) -> Any:
        """Return the model of a trial at its best epoch, as the documentation says."""
        raise NotImplementedError(f"{type(self).__name__} must define load.")

    def predict(self, model: Any) -> Any:
        """Return the model's predictions for the validation data, as an array."""
        raise NotImplementedError(f"{type(self).__name__} must define predict.")

    def epochs_of(self, model: Any) -> int | None:
        """Return how many epochs a model was trained for, None if models do not tell."""
        return None


def tuner_for(framework: Framework, *, metric: str | None = None, **arguments: Any) -> Tuner:
    """Return a search of one trial, unless the arguments say something else."""
    given: dict[str, Any] = {"strategy": Random(), "seed": 0, "max_trials": 1, "progress": "off"}
    return Tuner(framework.space, Minimize(metric or framework.metric), **(given | arguments))


def next_trial(tuner: Tuner) -> Trial:
    """Return the next trial of a search that has one."""
    trial = tuner.ask()
    assert trial is not None
    return trial


class FrameworkContract:
    """The laws of a framework's callback; ``make`` returns the framework."""

    def make(self) -> Framework:
        """Return the framework."""
        raise NotImplementedError(f"{type(self).__name__} must define make(self), which returns a Framework.")

    @pytest.fixture
    def framework(self) -> Framework:
        """The framework."""
        return self.make()

    def test_every_epoch_is_reported_once(self, framework: Framework) -> None:
        """Each epoch of a training run is in the curve, and the run ends as COMPLETED."""
        tuner = tuner_for(framework)
        for trial in tuner:
            framework.fit(trial, epochs=framework.epochs)
        (record,) = tuner.trials
        assert list(record.curve) == list(range(1, framework.epochs + 1))
        assert record.state is TrialState.COMPLETED
        assert len(set(record.curve.values())) > 1

    def test_stop_ends_the_training_and_returns_its_model(self, framework: Framework) -> None:
        """A run that is stopped ends as the framework ends it: no exception, and a model of the epochs up to there."""
        tuner = tuner_for(framework, strategy=Hyperband(max_resource=3))
        trial = next_trial(tuner)
        model = framework.fit(trial, epochs=framework.epochs)
        trial.end()
        assert tuner.trials[0].epochs == 3
        assert tuner.trials[0].stop_reason == "reached max_resource=3"
        assert np.isfinite(framework.predict(model)).all()
        assert framework.epochs_of(model) in (3, None)

    def test_out_of_memory_fails_the_trial_and_the_search_goes_on(self, framework: Framework) -> None:
        """An out-of-memory error that passes through the framework ends its trial only, with that reason."""
        tuner, name = tuner_for(framework, max_trials=2), Crash.__name__
        Crash.__name__ = "OutOfMemoryError"  # as PyTorch's
        try:
            tuner.run(lambda trial: framework.fit(trial, epochs=4, crash_after=None if trial.number else 2))
        finally:
            Crash.__name__ = name
        first, second = tuner.trials
        assert (first.state, first.stop_rule) == (TrialState.FAILED, "out of memory")
        assert second.state is TrialState.COMPLETED

    def test_missing_metric_is_named_with_the_nearest(self, framework: Framework) -> None:
        """A mistyped objective is an error after the first epoch, which names what was meant."""
        tuner = tuner_for(framework, metric=framework.metric + "x")
        trial = next_trial(tuner)
        with pytest.raises(MetricNotFound, match=repr(framework.metric)):
            framework.fit(trial, epochs=framework.epochs)
        assert tuner.trials[0].epochs <= 1

    @pytest.mark.parametrize("given", [None, {"rate": 0.1}, "tuner"])
    def test_something_else_than_a_trial_is_refused(self, given: object, framework: Framework) -> None:
        """The constructor of the callback refuses an argument that is no trial."""
        with pytest.raises(InvalidArgument, match="must be given a trial"):
            framework.callback(tuner_for(framework) if given == "tuner" else given)

    def test_crashed_training_goes_on_as_if_nothing_had_happened(
        self, framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that resumes from a checkpoint has the curve and the model of one that was not interrupted."""
        save_always(monkeypatch)
        whole = tuner_for(framework)
        expected = framework.fit(next_trial(whole), epochs=framework.epochs)

        before = tuner_for(framework, storage=tmp_path / "study.db")
        with pytest.raises(Crash):
            framework.fit(next_trial(before), epochs=framework.epochs, crash_after=3)
        expire_lease(before, 0)
        tuner = tuner_for(framework, storage=tmp_path / "study.db")
        trial = next_trial(tuner)
        assert trial.start_epoch in (2, 3)  # some frameworks crash before the save
        model = framework.fit(trial, epochs=framework.epochs)
        trial.end()
        assert tuner.trials[0].curve == whole.trials[0].curve
        assert np.array_equal(framework.predict(model), framework.predict(expected))

    def test_paused_trainings_go_on(self, framework: Framework, tmp_path: Path) -> None:
        """A paused run resumes at its epoch; no epoch is repeated or left out."""
        strategy = Hyperband(max_resource=framework.epochs, reduction_factor=2, pause=True, search="random")
        tuner = tuner_for(framework, strategy=strategy, max_trials=5, storage=tmp_path / "study.db")
        attempts = []
        for trial in tuner:
            framework.fit(trial, epochs=framework.epochs)
            attempts.append(trial.attempt)
        assert max(attempts) > 1
        assert max(record.epochs for record in tuner.trials) == framework.epochs
        for record in tuner.trials:
            assert list(record.curve) == list(range(1, record.epochs + 1))

    def test_two_phases_count_on(self, framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two successive calls of ``fit`` are one run, also after a crash in the second one."""

        def both(trial: Any, crash_after: int | None = None) -> Any:
            model = framework.fit(trial, epochs=2)
            return framework.fit(trial, epochs=4, model=model, crash_after=crash_after)

        whole = tuner_for(framework)
        expected = both(next_trial(whole))
        assert list(whole.trials[0].curve) == list(range(1, 7))

        save_always(monkeypatch)
        before = tuner_for(framework, storage=tmp_path / "study.db")
        with pytest.raises(Crash):
            both(next_trial(before), crash_after=4)
        expire_lease(before, 0)
        tuner = tuner_for(framework, storage=tmp_path / "study.db")
        trial = next_trial(tuner)
        assert trial.start_epoch in (3, 4)  # as above
        model = both(trial)
        trial.end()
        assert tuner.trials[0].curve == whole.trials[0].curve
        assert np.array_equal(framework.predict(model), framework.predict(expected))

    def test_folds_are_averaged(self, framework: Framework) -> None:
        """Each fold is a run of its own."""
        tuner = tuner_for(framework)
        for trial in tuner:
            for fold in trial.folds(2):
                framework.fit(fold, epochs=2)
        (record,) = tuner.trials
        assert [list(fold) for fold in record.folds] == [[1, 2], [1, 2]]

    def test_another_training_on_the_trial_is_an_error(self, framework: Framework) -> None:
        """A second model on the same trial is an error."""
        trial = next_trial(tuner_for(framework))
        framework.fit(trial, epochs=2)
        with pytest.raises(InvalidReport, match="Another training begins"):
            framework.fit(trial, epochs=2)

    def test_phase_after_a_stop_trains_nothing(self, framework: Framework) -> None:
        """A call of ``fit`` after the trial was stopped leaves the model as it is."""
        tuner = tuner_for(framework, strategy=Hyperband(max_resource=2))
        trial = next_trial(tuner)
        model = framework.fit(trial, epochs=4)
        before = framework.predict(model)
        after = framework.predict(framework.fit(trial, epochs=4, model=model))
        trial.end()
        assert np.array_equal(before, after)
        assert tuner.trials[0].epochs == 2

    @pytest.mark.parametrize("storage", [None, "study.db"])
    def test_best_model_is_that_of_the_best_epoch(
        self, framework: Framework, storage: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``load_model`` returns the model of the best epoch, bit by bit.

        Epochs after the third are worse by what is reported, so that its model is the best.
        """
        from hpo_plugins.coordination.training import Training

        report = Training.report

        def worse_after_three(self: Training, epoch: int, metrics: Any, **arguments: Any) -> bool:
            value = float(metrics[framework.metric]) + (10.0 if epoch > 3 else 0.0)
            return report(self, epoch, dict(metrics) | {framework.metric: value}, **arguments)

        monkeypatch.setattr(Training, "report", worse_after_three)
        place = None if storage is None else tmp_path / storage
        tuner = tuner_for(framework, max_trials=3, storage=place, checkpoints="best")
        for trial in tuner:
            framework.fit(trial, epochs=framework.epochs)
        best = tuner.best_trial
        assert best.best_epoch == 3
        found = framework.predict(framework.load(best))
        alone = tuner_for(framework)
        trial = next_trial(alone)
        trial.params = best.params
        assert np.array_equal(found, framework.predict(framework.fit(trial, epochs=3)))
        others = [record for record in tuner.trials if record.number != best.number]
        assert all(record.checkpoint is None and record.best_checkpoint is None for record in others)
        assert best.best_checkpoint is not None
        kept = sorted(path.parent.name for path in Path(best.best_checkpoint).parent.parent.glob("*/epoch-*"))
        assert set(kept) == {f"trial-{best.number:05d}"}

    def test_model_that_was_not_saved_is_an_error(self, framework: Framework) -> None:
        """``load_model`` says how to save it."""
        tuner = tuner_for(framework, checkpoints="pauses")
        for trial in tuner:
            framework.fit(trial, epochs=framework.epochs)
        with pytest.raises(CheckpointError, match="checkpoints="):
            framework.load(tuner.best_trial)
        with pytest.raises(InvalidArgument, match="record of a trial"):
            framework.load(trial)
