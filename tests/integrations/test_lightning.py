import os
import subprocess
import sys
import warnings

import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch
    import pytorch_lightning

from hpo_plugins.integrations._lightning_state import check  # noqa: E402
from hpo_plugins.integrations.lightning import TrialCallback  # noqa: E402
from support import release, save_always  # noqa: E402

import hpo_plugins as hpo  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own advice on workers and logging
SPACE = {"lr": hpo.Categorical([0.5, 1e-6])}


@pytest.fixture(params=[lightning.pytorch, pytorch_lightning], ids=["lightning.pytorch", "pytorch_lightning"])
def pl(request):
    return request.param


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    both = torch.utils.data.TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    parts = [torch.utils.data.Subset(both, range(200)), torch.utils.data.Subset(both, range(200, 300))]
    return [torch.utils.data.DataLoader(part, batch_size=50) for part in parts]


def fit_model(pl, lr=0.5, log_in=None):
    """A classifier of the given package; ``log_in`` logs a metric in one more hook."""

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(64, 10)
            self.validations = 0

        def training_step(self, batch, _):
            loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, _):
            self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))

        def on_validation_epoch_end(self):
            self.validations += 1
            self.log("validations", float(self.validations))

        def on_train_epoch_end(self):
            if log_in is not None:
                self.log("late", float(self.current_epoch))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=lr)

    return Classifier()


def trainer_of(pl, trial, after=(), **arguments):
    arguments = {"max_epochs": 4, "logger": False, "enable_checkpointing": False} | arguments
    return pl.Trainer(
        accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        callbacks=[TrialCallback(trial), *after], **arguments,
    )  # fmt: skip


def tuner_for(metric="val_loss", strategy=None, objective=hpo.Minimize):
    return hpo.Tuner(SPACE, objective(metric), strategy=strategy or hpo.Grid(), seed=0)


def fit(pl, trial, data, **arguments):
    model = fit_model(pl, trial["lr"], arguments.pop("log_in", None))
    trainer = trainer_of(pl, trial, **arguments)
    trainer.fit(model, *data)
    return trainer, model


def test_every_epoch_is_recorded_with_all_metrics(pl, data):
    tuner = tuner_for()
    for trial in tuner:
        fit(pl, trial, data)
        record = tuner.trials[trial.number]
        assert list(record.curve) == [1, 2, 3, 4]
        names = {"train_loss", "train_loss_step", "train_loss_epoch", "val_loss", "validations"}
        assert set(record.metrics[1]) == names
        assert record.metrics[1]["train_loss_epoch"] != record.metrics[2]["train_loss_epoch"]
    assert tuner.best_trial.params == {"lr": 0.5}


def test_sanity_check_and_separate_validation_do_not_count(pl, data):
    tuner = tuner_for("validations")
    trial = tuner.ask()
    trainer, model = fit(pl, trial, data, num_sanity_val_steps=2)
    trainer.validate(model, data[1], verbose=False)
    assert list(tuner.trials[0].curve.values()) == [2.0, 3.0, 4.0, 5.0]  # 1 was the sanity check, 6 the separate one


def test_stop_ends_the_training_as_lightning_does(pl, data, tmp_path):
    class Spy(pl.Callback):
        def __init__(self):
            self.ended = []

        def on_train_end(self, trainer, module):
            self.ended.append(trainer.state.status)

        def teardown(self, trainer, module, stage):
            self.ended.append(stage)

    tuner, spy = tuner_for(strategy=hpo.Hyperband(max_resource=2)), Spy()
    trial = tuner.ask()
    trainer, _ = fit(pl, trial, data, after=[spy], max_epochs=9, enable_checkpointing=True, default_root_dir=tmp_path)
    trial.end()
    assert trainer.current_epoch == 2
    assert trainer.state.status == "finished"
    assert spy.ended == ["running", "fit"]
    assert list(tmp_path.rglob("*.ckpt"))
    assert tuner.trials[0].stop_reason == "reached max_resource=2"


def test_min_epochs_is_obeyed_and_its_epochs_recorded(pl, data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=1))
    trial = tuner.ask()
    trainer, _ = fit(pl, trial, data, min_epochs=3)
    trial.end()
    assert trainer.current_epoch == 3
    assert (tuner.trials[0].epochs, tuner.trials[0].stop_reason) == (3, "reached max_resource=1")


def test_skipped_validation_shows_no_stale_metric(pl, data):
    tuner = tuner_for()
    fit(pl, tuner.ask(), data, check_val_every_n_epoch=2)
    (record,) = tuner.trials
    assert list(record.curve) == [2, 4]
    assert list(record.metrics) == [1, 2, 3, 4]
    assert "val_loss" not in record.metrics[3]
    assert "train_loss_epoch" in record.metrics[3]


def test_last_of_several_validations_in_an_epoch_counts(pl, data):
    tuner = tuner_for("validations")
    fit(pl, tuner.ask(), data, val_check_interval=0.5, num_sanity_val_steps=0)
    assert tuner.trials[0].curve == {1: 2.0, 2: 4.0, 3: 6.0, 4: 8.0}


def test_training_metric_can_be_the_objective(pl, data):
    tuner = tuner_for("train_loss_epoch")
    fit(pl, tuner.ask(), data[:1])
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_metric_logged_at_the_end_of_the_epoch_is_found(pl, data):
    tuner = tuner_for("late")
    fit(pl, tuner.ask(), data, log_in="on_train_epoch_end")
    assert tuner.trials[0].curve == {1: 0.0, 2: 1.0, 3: 2.0, 4: 3.0}
    assert "val_loss" in tuner.trials[0].metrics[1]


def test_late_metric_beside_the_objective_belongs_to_its_epoch(pl, data):
    tuner = tuner_for()
    fit(pl, tuner.ask(), data, log_in="on_train_epoch_end")
    (record,) = tuner.trials
    assert [record.metrics[epoch]["late"] for epoch in record.curve] == [0.0, 1.0, 2.0, 3.0]


def test_stop_on_such_a_metric_trains_no_further(pl, data):
    tuner = tuner_for("late", strategy=hpo.Hyperband(max_resource=2))
    trial = tuner.ask()
    _, model = fit(pl, trial, data, log_in="on_train_epoch_end", max_epochs=9, num_sanity_val_steps=0)
    trial.end()
    assert tuner.trials[0].epochs == 2
    assert tuner.trials[0].stop_reason == "reached max_resource=2"
    assert model.validations == 2


@pytest.mark.parametrize(
    ("metric", "arguments", "parts", "names"),
    [
        (
            "val_los",
            {},
            2,
            "'train_loss', 'train_loss_epoch', 'train_loss_step', 'val_loss', 'validations'. Did you mean 'val_loss'?",
        ),
        ("val_loss", {}, 1, "'train_loss', 'train_loss_epoch', 'train_loss_step'."),
        ("val_los", {"check_val_every_n_epoch": 2}, 2, "Did you mean 'val_loss'?"),
    ],
)
def test_missing_metric_is_named(metric, arguments, parts, names, pl, data):
    tuner = tuner_for(metric)
    with pytest.raises(hpo.MetricNotFound) as caught:
        for trial in tuner:
            fit(pl, trial, data[:parts], **arguments)
    assert f"The objective's metric {metric!r} was not reported after the first epoch." in str(caught.value)
    assert names in str(caught.value)
    assert tuner.trials[0].state is hpo.TrialState.FAILED


def test_continued_training_counts_on(pl, data):
    tuner = tuner_for()
    trial = tuner.ask()
    trainer, model = fit(pl, trial, data, max_epochs=2)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(model, *data)
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_keyboard_interrupt_gives_the_trial_back(pl, data):
    class Interrupt(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    tuner = tuner_for()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        for trial in tuner:
            fit(pl, trial, data, after=[Interrupt()])
    assert tuner.trials[0].state is hpo.TrialState.RUNNING
    assert tuner.ask().number == 0


@pytest.mark.full
def test_either_package_alone_will_do():
    """The class is made for the packages in use, and none is imported that is not."""
    for used, other in (("pytorch_lightning", "lightning.pytorch"), ("lightning.pytorch", None)):
        script = (
            f"import warnings; warnings.simplefilter('ignore')\nimport sys, {used}\n"
            "from hpo_plugins.integrations.lightning import TrialCallback\n"
            f"assert issubclass(TrialCallback, sys.modules['{used}'].Callback)\n"
            f"assert {other!r} not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


# Pause and resume.


def pausing(metric="val_loss", at=3, **arguments):
    """A tuner whose one trial is paused after ``at`` epochs."""
    strategy = hpo.Hyperband(min_resource=at, max_resource=99, reduction_factor=99, pause=True)
    arguments = {"max_trials": 1, "seed": 0} | arguments
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize(metric), strategy=strategy, **arguments)


def deep_model(pl, scheduler, seed, width=16):
    """A module with everything that must be restored; it logs its loss once more, late, as ``late``."""
    nn, optim = torch.nn, torch.optim

    class Deep(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(width), nn.Linear(width, 10)
            )
            self.steps = 0

        def training_step(self, batch, _):
            self.steps += 1
            return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("val_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

        def on_train_epoch_end(self):
            self.log("late", self.trainer.callback_metrics["val_loss"])

        def configure_optimizers(self):
            optimizer = optim.Adam(self.parameters(), lr=0.05)
            if scheduler == "cycle":
                cycle = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=60)
                return [optimizer], [{"scheduler": cycle, "interval": "step"}]
            plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}

    pl.seed_everything(seed, verbose=False)
    return Deep()


def fit_deep(pl, model, data, callbacks, checkpoint=None, **arguments):
    train = torch.utils.data.DataLoader(data[0].dataset, batch_size=32, shuffle=True)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=callbacks, **({"max_epochs": 6} | arguments),
    )  # fmt: skip
    trainer.fit(model, train, data[1], ckpt_path=checkpoint)
    return trainer


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("metric", ["val_loss", "late"])
@pytest.mark.parametrize("limit", [{}, {"max_steps": 38}], ids=["epochs", "steps"])
@pytest.mark.parametrize("scheduler", ["cycle", "plateau"])
def test_resumed_training_is_bit_identical(scheduler, limit, metric, data):
    pl = lightning.pytorch
    expected = deep_model(pl, scheduler, seed=0)
    fit_deep(pl, expected, data, [], **limit)
    tuner, steps = pausing(metric), []
    for trial in tuner:
        model = deep_model(pl, scheduler, seed=len(steps))
        fit_deep(pl, model, data, [TrialCallback(trial)], trial.resume_from, **limit)
        steps.append(model.steps)
    assert steps == [21, expected.steps - 21]
    assert same_weights(model, expected)
    assert list(tuner.trials[0].curve)[:5] == [1, 2, 3, 4, 5]  # 38 steps end within the sixth


@pytest.mark.parametrize("scheduler", ["cycle", "plateau"])
def test_killed_training_resumes_from_its_checkpoint(pl, scheduler, data, tmp_path, monkeypatch):
    """Saved while it runs, between two epochs."""

    class Crash(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if trainer.current_epoch == 4 and index == 3:
                raise RuntimeError("crash")

    save_always(monkeypatch)
    expected = deep_model(pl, scheduler, seed=0)
    fit_deep(pl, expected, data, [])
    tuner = pausing(at=98, storage=tmp_path / "a.db", retry_on=(RuntimeError,))
    trial = tuner.ask()
    with pytest.raises(RuntimeError, match="crash") as caught:
        fit_deep(pl, deep_model(pl, scheduler, seed=0), data, [TrialCallback(trial), Crash()])
    trial.fail(caught.value)
    for trial in tuner:
        assert trial.start_epoch == 4
        model = deep_model(pl, scheduler, seed=1)
        fit_deep(pl, model, data, [TrialCallback(trial)], trial.resume_from)
    assert same_weights(model, expected)


class Crafted:
    """What a stranger puts into a checkpoint: loading it by pickle runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_checkpoint_that_runs_code_is_refused_unless_allowed(pl, data, tmp_path):
    tuner = pausing(storage=tmp_path / "a.db")
    trial = tuner.ask()
    model = deep_model(pl, "cycle", 0)
    fit_deep(pl, model, data, [TrialCallback(trial)])
    trial.end()
    (checkpoint,) = (tmp_path / "a.db.checkpoints").rglob("epoch-*")
    content = torch.load(checkpoint, weights_only=False)
    torch.save(content | {"greeting": Crafted(tmp_path / "executed")}, checkpoint)
    trial = tuner.ask()
    with pytest.raises(hpo.CheckpointError, match="can run any code: .*allow_code_in_checkpoints=True"):
        fit_deep(pl, deep_model(pl, "cycle", 0), data, [TrialCallback(trial)], trial.resume_from)
    assert not (tmp_path / "executed").exists()
    check(checkpoint, 0, model, allow_code=True)  # then it is for Lightning: fit(..., weights_only=False)
    assert not (tmp_path / "executed").exists()


def test_omitted_ckpt_path_is_an_error_that_says_so(pl, data):
    tuner = pausing()
    with pytest.raises(hpo.CheckpointError, match="after epoch 3, but .* Pass ckpt_path=trial.resume"):
        for trial in tuner:
            fit_deep(pl, deep_model(pl, "cycle", 0), data, [TrialCallback(trial)])
    assert tuner.trials[0].state is hpo.TrialState.RUNNING


def test_omitted_ckpt_path_after_a_crash_starts_over(pl, data, tmp_path, caplog):
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=1)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.save(lambda path: torch.save({"state_dict": {}}, path))
    release(trial)
    trial = tuner.ask()
    assert trial.start_epoch == 1

    class Log(pl.Callback):
        def on_validation_end(self, trainer, module):
            trainer.callback_metrics["loss"] = trainer.callback_metrics["val_loss"]

    fit_deep(pl, deep_model(pl, "cycle", 0), data, [Log(), TrialCallback(trial)], max_epochs=2)
    assert "trial 0 starts from the beginning instead of from its checkpoint" in caplog.text
    assert list(tuner.trials[0].curve) == [1, 2]


def test_unusable_checkpoint_is_an_error_and_keeps_the_trial(pl, data, tmp_path):
    tuner = pausing(storage=tmp_path / "a.db")
    trial = tuner.ask()
    fit_deep(pl, deep_model(pl, "cycle", 0), data, [TrialCallback(trial)])
    trial.end()
    with pytest.raises(hpo.CheckpointError, match=r"is of another model: layers.0.bias has shape \(16,\) there"):
        for trial in tuner:
            fit_deep(pl, deep_model(pl, "cycle", 0, width=8), data, [TrialCallback(trial)], trial.resume_from)
    path = next(tmp_path.rglob("epoch-*"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(hpo.CheckpointError, match=r"is damaged or not written by Lightning: .* tuner.restart\(0\)"):
        for trial in tuner:
            fit_deep(pl, deep_model(pl, "cycle", 0), data, [TrialCallback(trial)], trial.resume_from)
    assert tuner.trials[0].state is hpo.TrialState.RUNNING
