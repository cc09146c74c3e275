"""Lightning training runs in several calls of ``fit``, in folds, and with random generators of their own."""

import random
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_wine
from support import EpochCounts, save_always

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
    """It dies when the second phase begins: the first is over, and its fit does not receive the checkpoint."""
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


class Counting(EpochCounts, pl.Callback):
    def on_train_epoch_start(self, trainer, module):
        self.count_begin(RuntimeError("dies"))

    def on_train_epoch_end(self, trainer, module):
        self.count_end()


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("lengths", [(4, 5), (3, 6), pytest.param((2, 2, 2, 2, 1), marks=pytest.mark.full)], ids=str)
def test_epochs_of_each_phase_are_all_trained_over_pauses(data, lengths, folded):
    strategy = hpo.Hyperband(max_resource=9, pause=True, search="random")
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=12, seed=1)
    counting = Counting()
    for trial in tuner:
        for handle in trial.folds(2) if folded else [trial]:
            fold, model = handle.number if folded else 0, build(0, trial["lr"])
            for phase, epochs in enumerate(lengths):
                trainer = trainer_of(epochs, TrialCallback(handle), counting.of(trial.number, fold, phase))
                trainer.fit(model, *loaders(data), ckpt_path=handle.resume_from)
    assert any(t.attempts > 1 and t.epochs > 4 for t in tuner.trials)
    for record in tuner.trials:
        for fold, curve in enumerate(record.folds if folded else [record.curve]):
            left, expected = len(curve), {}
            for phase, epochs in enumerate(lengths):
                expected[phase], left = min(left, epochs), max(0, left - epochs)
            assert {phase: counting.trained.get((record.number, fold, phase), 0) for phase in expected} == expected


class Ends(pl.Callback):
    """A limit of the user's own, in any of the hooks."""

    def __init__(self, hook, epoch):
        setattr(self, hook, lambda trainer, *_: setattr(trainer, "should_stop", trainer.current_epoch + 1 >= epoch))


STOPS = {
    "early stopping": lambda: pl.callbacks.EarlyStopping("val_loss", min_delta=9.0, patience=3),
    "early stopping in validation": lambda: pl.callbacks.EarlyStopping(
        "val_loss", min_delta=9.0, patience=3, check_on_train_epoch_end=False
    ),
    "own": lambda: Ends("on_train_epoch_end", 4),
    "own within the epoch": lambda: Ends("on_train_batch_end", 4),
}


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
@pytest.mark.parametrize("stops", STOPS.values(), ids=list(STOPS))
def test_training_that_is_ended_at_the_epoch_of_its_pause_is_completed(data, stops, place):
    alone = Counting().of(0)
    trainer_of(20, stops(), alone).fit(build(0), *loaders(data))
    assert alone.trained == {(0,): 4}
    tuner, counting = paused_at(4), Counting().of(0)
    for trial in tuner:
        callbacks = [TrialCallback(trial)]
        callbacks.insert(place, stops())
        trainer = trainer_of(20, *callbacks, counting)
        trainer.fit(build(0), *loaders(data), ckpt_path=trial.resume_from)
    (record,) = tuner.trials
    assert (record.state, record.attempts, record.epochs) == (hpo.TrialState.COMPLETED, 1, 4)
    assert counting.trained == alone.trained


def early_then_more(model, data, counting, callbacks=list, checkpoint=lambda: None, stops=lambda: False):
    first = trainer_of(20, *callbacks(), STOPS["early stopping"](), averaging(), counting.of(0))
    first.fit(model, *loaders(data), ckpt_path=checkpoint())
    if not stops():
        second = trainer_of(4, *callbacks(), averaging(), counting.of(1))
        second.fit(model, *loaders(data), ckpt_path=checkpoint())
    return model


def averaging():
    return pl.callbacks.EMAWeightAveraging(decay=0.8)


needs_averaging = pytest.mark.skipif(
    not hasattr(pl.callbacks, "EMAWeightAveraging"), reason="older Lightning has no EMAWeightAveraging"
)


@needs_averaging
@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("at", [4, 5, 6])
def test_phase_that_early_stopping_has_ended_is_over_after_a_pause(data, at, leaves):
    """The next phase begins with the averaged weights of the one before."""
    alone, counting = Counting(), Counting()
    expected = early_then_more(build(0), data, alone)
    assert alone.trained == {(0,): 4, (1,): 4}
    for trial in paused_at(at):
        model = early_then_more(
            build(trial.attempt - 1), data, counting, lambda trial=trial: [TrialCallback(trial)],
            lambda trial=trial: trial.resume_from, (lambda trial=trial: trial.should_stop) if leaves else lambda: False,
        )  # fmt: skip
    assert trial.attempt == 2
    assert counting.trained == alone.trained
    assert same_weights(model, expected)


@needs_averaging
def test_killed_after_early_stopping_ended_a_phase_trains_no_more_of_it(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    alone, counting = Counting(), Counting(die_after=4)
    expected = early_then_more(build(0), data, alone)
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db", retry_on=(RuntimeError,)
    )
    models = []

    def train(trial):
        models.append(build(trial.attempt - 1))
        early_then_more(models[-1], data, counting, lambda: [TrialCallback(trial)], lambda: trial.resume_from)

    tuner.run(train)
    assert len(models) == 2
    assert counting.trained == alone.trained
    assert same_weights(models[-1], expected)


class WithNorm(Classifier):
    def __init__(self, lr=0.05):
        super().__init__(lr)
        self.body.append(torch.nn.BatchNorm1d(16))


AVERAGES = {
    "ema": lambda: pl.callbacks.EMAWeightAveraging(decay=0.8),
    "swa": lambda: pl.callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=5),
}


@needs_averaging
@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
@pytest.mark.parametrize("kind", [Classifier, WithNorm])
@pytest.mark.parametrize("averages", AVERAGES.values(), ids=list(AVERAGES))
def test_averaged_weights_are_resumed_at_one_moment(data, averages, kind, place):
    def new(seed):
        pl.seed_everything(seed, verbose=False)
        return kind()

    expected = new(0)
    trainer_of(8, averages()).fit(expected, *loaders(data))
    for trial in paused_at(3):
        model, callbacks = new(trial.attempt - 1), [TrialCallback(trial)]
        callbacks.insert(place, averages())
        trainer_of(8, *callbacks).fit(model, *loaders(data), ckpt_path=trial.resume_from)
    assert trial.attempt == 2
    assert same_weights(model, expected)


def test_checkpoint_of_another_trial_is_an_error_in_a_new_one(data, tmp_path):
    trainer = trainer_of(3)
    trainer.fit(build(0), *loaders(data))
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    for epochs in (2, 3, 9):
        trial = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1).ask()
        trainer = trainer_of(epochs, TrialCallback(trial))
        with pytest.raises(
            hpo.InvalidArgument, match=r"Trial 0 is new, but its training resumes after epoch 3 of anoth"
        ):
            trainer.fit(build(1), *loaders(data), ckpt_path=tmp_path / "other.ckpt")


def test_checkpoint_of_another_trial_is_an_error_in_one_that_resumes(data, tmp_path):
    strategy = hpo.Hyperband(min_resource=3, max_resource=99, reduction_factor=99, pause=True)
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=1, seed=0)
    trial = tuner.ask()
    trainer = trainer_of(9, TrialCallback(trial))
    trainer.fit(build(0), *loaders(data))
    trial.end()
    own = trainer_of(3)  # of as many epochs
    own.fit(build(0), *loaders(data))
    own.save_checkpoint(tmp_path / "other.ckpt")
    for epochs in (3, 9):
        with pytest.raises(
            hpo.CheckpointError, match=r"Trial 0 resumes after epoch 3, but .* Pass ckpt_path=trial.res"
        ):
            for trial in tuner:
                trainer_of(epochs, TrialCallback(trial)).fit(
                    build(0), *loaders(data), ckpt_path=tmp_path / "other.ckpt"
                )
        assert not tuner.trials[0].state.is_final


def other_names():
    model = build(1)
    model.tail = model.head
    del model.head
    model.forward = lambda x: model.tail(model.body(x))
    return model


def compiled():
    model = build(1)
    model.head = torch.compile(model.head, backend="eager")
    return model


def another_optimizer():
    model = build(1)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), 0.05)
    return model


def frozen():
    model = build(1)
    model.body.requires_grad_(False)
    return model


class Late(Classifier):
    """Creates a layer when the trainer asks for it."""

    def configure_model(self):
        self.extra = torch.nn.Linear(3, 3)


OTHERS = {
    "it has no tail.*it has head": other_names,
    "head._orig_mod": compiled,
    "its optimizers are Adam .* SGD": another_optimizer,
    "groups of": frozen,
    "it has no extra": Late,
}


@pytest.mark.parametrize("difference", OTHERS)
def test_checkpoint_of_another_module_is_an_error_that_leaves_the_trial(data, difference):
    tuner = paused_at(3)
    trial = tuner.ask()
    trainer_of(5, TrialCallback(trial)).fit(build(0), *loaders(data))
    trial.end()
    with pytest.raises(hpo.CheckpointError, match=rf"is of another model: .*{difference}.* tuner.restart\(0\)"):
        for trial in tuner:
            trainer_of(5, TrialCallback(trial)).fit(OTHERS[difference](), *loaders(data), ckpt_path=trial.resume_from)
    assert not tuner.trials[0].state.is_final
    for trial in tuner:  # it can still be resumed
        trainer_of(5, TrialCallback(trial)).fit(build(1), *loaders(data), ckpt_path=trial.resume_from)
    assert tuner.trials[0].epochs == 5


class OwnSampler(torch.utils.data.Sampler):
    """An order of its own, from a generator of its own."""

    def __init__(self, kind, n):
        self.n = n
        self.source = {"random": random.Random(3), "numpy": np.random.default_rng(3)}[kind]  # noqa: S311 - an order

    def __iter__(self):
        order = list(range(self.n))
        self.source.shuffle(order)
        return iter(order)

    def __len__(self):
        return self.n


class Noisy(torch.utils.data.Dataset):
    """Augments with a generator of its own."""

    def __init__(self, data):
        self.data, self.noise = data, torch.Generator().manual_seed(5)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x + 0.1 * torch.randn(x.shape, generator=self.noise), y


def batches_of(loader):
    while True:
        yield from loader


LOADERS = {
    "sampler, random": lambda data: loaders(data, sampler=OwnSampler("random", 120), shuffle=False)[0],
    "sampler, numpy": lambda data: loaders(data, sampler=OwnSampler("numpy", 120), shuffle=False)[0],
    "batch sampler": lambda data: torch.utils.data.DataLoader(
        data[0], batch_sampler=torch.utils.data.BatchSampler(OwnSampler("numpy", 120), 40, drop_last=False)
    ),
    "data set": lambda data: loaders([torch.utils.data.Subset(Noisy(data[0]), range(120)), data[1]])[0],
    "generator": lambda data: batches_of(loaders(data, shuffle=False)[0]),
}


@pytest.mark.parametrize("name", LOADERS)
def test_data_with_a_state_is_restored_or_said(data, name, caplog):
    def run(model, *callbacks, checkpoint=None):
        trainer = trainer_of(6, *callbacks, limit_train_batches=3)
        trainer.fit(model, LOADERS[name](data), loaders(data)[1], ckpt_path=checkpoint)
        return model

    expected = run(build(0))
    for trial in paused_at(2):
        model = run(build(trial.attempt - 1), TrialCallback(trial), checkpoint=trial.resume_from)
    assert trial.attempt == 2
    assert caplog.text.count("A generator or iterator as training data cannot be saved") == (name == "generator")
    assert name == "generator" or same_weights(model, expected)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("versions", [True, False])
def test_files_of_model_checkpoint_are_those_of_the_trial_or_said(data, tmp_path, shared, versions, caplog):
    """Lightning writes beside the files that it finds, unless it is told not to."""
    strategy = hpo.Hyperband(max_resource=9, pause=True, search="random")
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=9, seed=1)
    best = {}
    for trial in tuner:
        folder = tmp_path if shared else tmp_path / str(trial.number)
        saving = pl.callbacks.ModelCheckpoint(folder, "x", monitor="val_loss", enable_version_counter=versions)
        trainer = pl.Trainer(
            max_epochs=9, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[saving, TrialCallback(trial)],
        )  # fmt: skip
        trainer.fit(build(trial.number, trial["lr"]), *loaders(data), ckpt_path=trial.resume_from)
        best[trial.number] = saving.best_model_path, float(saving.best_model_score)
    assert any(t.attempts > 1 for t in tuner.trials)
    is_wrong = shared and not versions
    assert caplog.text.count("ModelCheckpoint writes to") == is_wrong
    for record in tuner.trials if not is_wrong else ():
        path, score = best[record.number]
        assert score == pytest.approx(min(record.curve.values()))
        saved = torch.load(path, weights_only=True)["callbacks"]
        state = next(each for name, each in saved.items() if name.startswith("ModelCheckpoint"))
        assert float(state["best_model_score"]) == pytest.approx(score)
