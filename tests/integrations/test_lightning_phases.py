"""Lightning trainings in several calls of ``fit``, in folds, and with random generators of their own."""

import warnings

import pytest
from sklearn.datasets import load_wine
from support import save_always

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as pl

from hpo_plugins.integrations.lightning import TrialCallback  # noqa: E402

import hpo_plugins as hpo  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own advice on workers and logging
SPACE = {"lr": hpo.Continuous(1e-3, 0.1, scale="log")}


@pytest.fixture(scope="module")
def data():
    x, y = load_wine(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    whole = torch.utils.data.TensorDataset(x[order], torch.tensor(y)[order])
    return [torch.utils.data.Subset(whole, rows) for rows in (range(120), range(120, len(x)))]


class Classifier(pl.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(16, 3)
        self.lr = lr

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=self.lr)


def build(seed=0, lr=0.05):
    pl.seed_everything(seed, verbose=False)
    return Classifier(lr)


def trainer_of(epochs, *callbacks, **arguments):
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), **arguments,
    )  # fmt: skip


def loaders(data, **arguments):
    arguments = {"batch_size": 40, "shuffle": True} | arguments
    return torch.utils.data.DataLoader(data[0], **arguments), torch.utils.data.DataLoader(data[1], batch_size=60)


class Epochs(pl.Callback):
    """What was really trained, by trial; dies after some epochs."""

    def __init__(self, die_after=None):
        self.trained, self.die_after = {}, die_after

    def of(self, trial):
        self.number = trial.number
        return self

    def on_train_epoch_start(self, trainer, module):
        if self.die_after is not None and sum(self.trained.values()) == self.die_after:
            self.die_after = None
            raise RuntimeError("dies")
        self.trained[self.number] = self.trained.get(self.number, 0) + 1


def two_trainers(model, data, checkpoint, callbacks):
    """Train the head, then all, as Lightning's guide to transfer learning does."""
    model.body.requires_grad_(False)
    trainer_of(3, *callbacks()).fit(model, *loaders(data), ckpt_path=checkpoint())
    model.body.requires_grad_(True)
    trainer_of(6, *callbacks()).fit(model, *loaders(data), ckpt_path=checkpoint())


def one_trainer(model, data, checkpoint, callbacks):
    """Train on with the same trainer."""
    trainer = trainer_of(3, *callbacks())
    trainer.fit(model, *loaders(data), ckpt_path=checkpoint())
    trainer.fit_loop.max_epochs = 9
    trainer.fit(model, *loaders(data), ckpt_path=checkpoint())


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("script", [two_trainers, one_trainer])
def test_epochs_count_on_over_phases_that_are_paused(data, script):
    strategy = hpo.Hyperband(max_resource=9, reduction_factor=2, pause=True)
    tuner, epochs = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=9, seed=0), Epochs()
    for trial in tuner:
        script(
            build(0, trial["lr"]), data, lambda trial=trial: trial.resume_from,
            lambda trial=trial: [TrialCallback(trial), epochs.of(trial)],
        )  # fmt: skip
    assert epochs.trained == {t.number: t.epochs for t in tuner.trials}
    for record in tuner.trials:
        assert list(record.curve) == list(range(1, record.epochs + 1))
    assert max(t.epochs for t in tuner.trials) == 9 > min(t.epochs for t in tuner.trials)
    assert any(t.attempts > 1 for t in tuner.trials)


@pytest.mark.parametrize("die_after", [1, 2, 3, 4, 8])
def test_killed_fine_tuning_equals_one_that_was_not(data, tmp_path, monkeypatch, die_after):
    save_always(monkeypatch)
    expected = build(0)
    two_trainers(expected, data, lambda: None, list)
    epochs, seed = Epochs(die_after), 0
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db", retry_on=(RuntimeError,)
    )

    def train(trial):
        nonlocal seed, model
        model, seed = build(seed), seed + 1
        two_trainers(model, data, lambda: trial.resume_from, lambda: [TrialCallback(trial), epochs.of(trial)])

    model = None
    tuner.run(train)
    assert seed == 2
    assert epochs.trained == {0: 9}
    assert list(tuner.trials[0].curve) == list(range(1, 10))
    assert same_weights(model, expected)


def test_omitted_ckpt_path_of_a_phase_that_was_over_loses_nothing(data, tmp_path, monkeypatch):
    """It dies when the second phase begins: the first is over, and its fit is not told of the checkpoint."""
    save_always(monkeypatch)
    epochs, seen = Epochs(die_after=3), []
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db", retry_on=(RuntimeError,)
    )

    def train(trial):
        model = build(trial.attempt)
        for number in range(2):
            trainer_of(3, TrialCallback(trial), epochs.of(trial)).fit(model, *loaders(data))
            seen.append((trial.attempt, number, model.head.bias.detach().clone()))

    tuner.run(train)
    assert tuner.trials[0].attempts == 2
    assert epochs.trained == {0: 6}
    assert torch.equal(seen[0][2], seen[1][2])  # after the first phase, in both attempts


def test_fit_of_another_module_is_an_error_that_says_which_of_two_is_wanted(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1)
    with pytest.raises(hpo.InvalidReport, match=r"trial.folds\(n\).*second phase"):
        for trial in tuner:
            for _ in range(2):
                trainer_of(2, TrialCallback(trial)).fit(build(), *loaders(data))
    assert tuner.trials[0].state is hpo.TrialState.FAILED


def test_module_from_a_checkpoint_is_declared(data, tmp_path):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1)
    for trial in tuner:
        first = trainer_of(2, TrialCallback(trial))
        first.fit(build(), *loaders(data))
        first.save_checkpoint(tmp_path / "best.ckpt")
        trial.next_phase()
        second = Classifier.load_from_checkpoint(tmp_path / "best.ckpt")
        trainer_of(3, TrialCallback(trial)).fit(second, *loaders(data))
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4, 5]


def test_stop_in_the_first_phase_even_with_min_epochs(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=2), max_trials=1)
    for trial in tuner:
        model = build()
        trainer_of(5, TrialCallback(trial)).fit(model, *loaders(data))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trainer = trainer_of(5, TrialCallback(trial), min_epochs=4)
        trainer.fit(model, *loaders(data))
    assert list(tuner.trials[0].curve) == [1, 2]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert trainer.min_epochs == 4


def test_killed_fold_continues_where_it_was(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    epochs = Epochs(die_after=5)
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db", retry_on=(RuntimeError,)
    )
    whole = torch.utils.data.ConcatDataset(data)

    def train(trial):
        for fold in trial.folds(3):
            rows = range(fold.number, len(whole), 3)
            parts = [torch.utils.data.Subset(whole, [n for n in range(len(whole)) if n not in rows])]
            parts += [torch.utils.data.Subset(whole, rows)]
            trainer = trainer_of(3, TrialCallback(fold), epochs.of(trial))
            trainer.fit(build(fold.number), *loaders(parts), ckpt_path=fold.resume_from)

    tuner.run(train)
    (record,) = tuner.trials
    assert record.attempts == 2
    assert record.state is hpo.TrialState.COMPLETED
    assert [list(curve) for curve in record.folds] == [[1, 2, 3]] * 3
    assert epochs.trained == {0: 9}
    assert record.value == pytest.approx(sum(curve[3] for curve in record.folds) / 3)


def paused_at(epoch):
    strategy = hpo.Hyperband(min_resource=epoch, max_resource=99, reduction_factor=99, pause=True)
    return hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=1, seed=0)


@pytest.mark.parametrize("built_in", ["fit", "train_dataloader"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_workers": 1},
        {"num_workers": 1, "persistent_workers": True},
        {"num_workers": 1, "persistent_workers": True, "generator": None},
    ],
    ids=["here", "worker", "persistent worker", "persistent worker, no generator"],
)
def test_generators_of_data_loaders_are_restored(data, arguments, built_in, caplog):
    def fit(model, callbacks, checkpoint=None):
        own = {"generator": torch.Generator().manual_seed(7)} | arguments
        trainer = trainer_of(6, *callbacks)
        if built_in == "fit":
            trainer.fit(model, *loaders(data, **own), ckpt_path=checkpoint)
        else:
            model.train_dataloader = lambda: loaders(data, **own)[0]
            trainer.fit(model, val_dataloaders=loaders(data)[1], ckpt_path=checkpoint)

    expected = build(0)
    fit(expected, [])
    for trial in paused_at(2):
        model = build(trial.attempt - 1)
        fit(model, [TrialCallback(trial)], trial.resume_from)
    assert trial.attempt == 2
    assert same_weights(model, expected)
    assert caplog.text.count("persistent_workers=True cannot be saved") == ("persistent_workers" in arguments)


def test_validation_that_never_runs_costs_one_training(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=12)
    with pytest.raises(hpo.MetricNotFound, match=r"in a whole training of 2 epochs.*No validation ran"):
        for trial in tuner:
            trainer_of(2, TrialCallback(trial), check_val_every_n_epoch=5).fit(build(), *loaders(data))
    assert [t.state for t in tuner.trials] == [hpo.TrialState.FAILED]


def test_rung_that_passes_before_the_first_validation_is_judged_at_it(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=9), max_trials=9, seed=0)
    for trial in tuner:
        trainer = trainer_of(9, TrialCallback(trial), check_val_every_n_epoch=4)
        trainer.fit(build(0, trial["lr"]), *loaders(data))
    assert {t.epochs for t in tuner.trials} == {4, 9}


class Keeper(Classifier):
    """A module that keeps its trial, as many do to read its parameters."""

    def __init__(self, trial):
        super().__init__(trial["lr"])
        self.save_hyperparameters()


@pytest.mark.parametrize("folded", [False, True])
def test_module_that_keeps_its_trial_is_restored(data, folded, tmp_path):
    strategy = hpo.Hyperband(min_resource=2, max_resource=99, reduction_factor=99, pause=True)
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=1, storage=tmp_path / "secret.db")
    for trial in tuner:
        for handle in trial.folds(2) if folded else [trial]:
            pl.seed_everything(trial.attempt, verbose=False)
            model = Keeper(handle)
            trainer = trainer_of(4, TrialCallback(handle))
            trainer.fit(model, *loaders(data), ckpt_path=handle.resume_from)
    assert trial.attempt == 2
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    assert b"secret.db" not in (tmp_path / "model.ckpt").read_bytes()
    loaded = Keeper.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.hparams.trial.params == trial.params
