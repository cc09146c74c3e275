"""What the callbacks of all frameworks must do alike."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support import expire_lease, save_always

import hpo_plugins as hpo

sys.path.insert(0, str(Path(__file__).parent))
from frameworks import EPOCHS, FRAMEWORKS, Crash

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*num_workers.*", "ignore:.*smaller than the logging interval.*",
    "ignore:.*pin_memory.*", "ignore:.*LeafSpec.*", "ignore:__array__ implementation",
)  # fmt: skip
SPACE = {"rate": hpo.Continuous(1e-3, 0.5, "log")}


@pytest.fixture(params=FRAMEWORKS, scope="module")
def framework(request):
    return FRAMEWORKS[request.param]()


def tuner_for(framework, *, metric=None, **arguments):
    given = {"strategy": hpo.Random(), "seed": 0, "max_trials": 1, "progress": "off"}
    return hpo.Tuner(SPACE, hpo.Minimize(metric or framework.metric), **(given | arguments))


def test_every_epoch_is_reported_once(framework):
    tuner = tuner_for(framework)
    for trial in tuner:
        framework.fit(trial)
    (record,) = tuner.trials
    assert list(record.curve) == list(range(1, EPOCHS + 1))
    assert record.state is hpo.TrialState.COMPLETED
    assert len(set(record.curve.values())) > 1


def test_stop_ends_the_training_and_returns_its_model(framework):
    tuner = tuner_for(framework, strategy=hpo.Hyperband(max_resource=3))
    trial = tuner.ask()
    model = framework.fit(trial)
    trial.end()
    assert tuner.trials[0].epochs == 3
    assert tuner.trials[0].stop_reason == "reached max_resource=3"
    assert np.isfinite(framework.predict(model)).all()
    assert framework.epochs_of(model) in (3, None)


def test_missing_metric_is_named_with_the_nearest(framework):
    tuner = tuner_for(framework, metric=framework.metric + "x")
    trial = tuner.ask()
    with pytest.raises(hpo.MetricNotFound, match=repr(framework.metric)):
        framework.fit(trial)
    assert tuner.trials[0].epochs <= 1


@pytest.mark.parametrize("given", [None, {"rate": 0.1}, "tuner"])
def test_something_else_than_a_trial_is_refused(given, framework, request):
    import importlib

    name = type(framework).__name__.lower()
    callback = importlib.import_module(f"hpo_plugins.integrations.{name}").TrialCallback
    with pytest.raises(hpo.InvalidArgument, match="must be given a trial"):
        callback(tuner_for(framework) if given == "tuner" else given)


def test_crashed_training_goes_on_as_if_nothing_had_happened(framework, tmp_path, monkeypatch):
    save_always(monkeypatch)
    whole = tuner_for(framework)
    expected = framework.fit(whole.ask())

    before = tuner_for(framework, storage=tmp_path / "study.db")
    with pytest.raises(Crash):
        framework.fit(before.ask(), crash_after=3)
    expire_lease(before, 0)
    tuner = tuner_for(framework, storage=tmp_path / "study.db")
    trial = tuner.ask()
    assert trial.start_epoch in (2, 3)  # XGBoost before 3.1 calls callbacks in any order: the crash before the save
    model = framework.fit(trial)
    trial.end()
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert np.array_equal(framework.predict(model), framework.predict(expected))


def test_paused_trainings_go_on(framework, tmp_path):
    strategy = hpo.Hyperband(max_resource=EPOCHS, reduction_factor=2, pause=True, search="random")
    tuner = tuner_for(framework, strategy=strategy, max_trials=5, storage=tmp_path / "study.db")
    attempts = []
    for trial in tuner:
        framework.fit(trial)
        attempts.append(trial.attempt)
    assert max(attempts) > 1
    assert max(record.epochs for record in tuner.trials) == EPOCHS
    for record in tuner.trials:
        assert list(record.curve) == list(range(1, record.epochs + 1))


def test_two_phases_count_on(framework, tmp_path, monkeypatch):
    def both(trial, crash_after=None):
        model = framework.fit(trial, epochs=2)
        return framework.fit(trial, epochs=4, model=model, crash_after=crash_after)

    whole = tuner_for(framework)
    expected = both(whole.ask())
    assert list(whole.trials[0].curve) == list(range(1, 7))

    save_always(monkeypatch)
    before = tuner_for(framework, storage=tmp_path / "study.db")
    # The rounds of a second call are counted from 0 by XGBoost, and from the model's by LightGBM.
    crash_after = 2 if type(framework).__name__ == "XGBoost" else 4
    with pytest.raises(Crash):
        both(before.ask(), crash_after)
    expire_lease(before, 0)
    tuner = tuner_for(framework, storage=tmp_path / "study.db")
    trial = tuner.ask()
    assert trial.start_epoch in (3, 4)  # as above
    model = both(trial)
    trial.end()
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert np.array_equal(framework.predict(model), framework.predict(expected))


def test_folds_are_averaged(framework):
    tuner = tuner_for(framework)
    for trial in tuner:
        for fold in trial.folds(2):
            framework.fit(fold, epochs=2)
    (record,) = tuner.trials
    assert [list(fold) for fold in record.folds] == [[1, 2], [1, 2]]


def test_another_training_on_the_trial_is_an_error(framework):
    trial = tuner_for(framework).ask()
    framework.fit(trial, epochs=2)
    with pytest.raises(hpo.InvalidReport, match="Another training begins"):
        framework.fit(trial, epochs=2)


def test_phase_after_a_stop_trains_nothing(framework):
    tuner = tuner_for(framework, strategy=hpo.Hyperband(max_resource=2))
    trial = tuner.ask()
    model = framework.fit(trial, epochs=4)
    before = framework.predict(model)
    after = framework.predict(framework.fit(trial, epochs=4, model=model))
    trial.end()
    assert np.array_equal(before, after)
    assert tuner.trials[0].epochs == 2


@pytest.mark.parametrize("storage", [None, "study.db"])
def test_best_model_is_that_of_the_best_epoch(framework, storage, tmp_path, monkeypatch):
    """Epochs after the third are worse by what is reported, so that its model is the best."""
    from hpo_plugins.coordination.training import Training

    report = Training.report

    def worse_after_three(self, epoch, metrics, **arguments):
        value = float(metrics[framework.metric]) + (10.0 if epoch > 3 else 0.0)
        return report(self, epoch, dict(metrics) | {framework.metric: value}, **arguments)

    monkeypatch.setattr(Training, "report", worse_after_three)
    place = None if storage is None else tmp_path / storage
    tuner = tuner_for(framework, max_trials=3, storage=place, checkpoints="best")
    for trial in tuner:
        framework.fit(trial)
    best = tuner.best_trial
    assert best.best_epoch == 3
    found = framework.predict(framework.load(best))
    alone = tuner_for(framework)
    trial = alone.ask()
    trial.params = best.params
    assert np.array_equal(found, framework.predict(framework.fit(trial, epochs=3)))
    others = [record for record in tuner.trials if record.number != best.number]
    assert all(record.checkpoint is None and record.best_checkpoint is None for record in others)
    kept = sorted(path.parent.name for path in Path(best.best_checkpoint).parent.parent.glob("*/epoch-*"))
    assert set(kept) == {f"trial-{best.number:05d}"}


def test_model_that_was_not_saved_is_an_error(framework):
    tuner = tuner_for(framework, checkpoints="pauses")
    for trial in tuner:
        framework.fit(trial)
    with pytest.raises(hpo.CheckpointError, match="checkpoints="):
        framework.load(tuner.best_trial)
    with pytest.raises(hpo.InvalidArgument, match="record of a trial"):
        framework.load(trial)
