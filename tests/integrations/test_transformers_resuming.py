"""Transformers: a paused or killed training run ends as an uninterrupted one, and files stay with their owners."""

import copy
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support import expire_lease, save_always

import hpo_plugins as hpo

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from hpo_plugins.integrations.transformers import TrialCallback, load_model  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:.*pin_memory.*", "ignore:.*lr_scheduler.step.*", "ignore:.*is_gradient_checkpointing.*"
    ),
]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = (X @ np.array([1, 2, 3, 4], "float32"))[:, None]
ROWS = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
TRAIN, VALID = ROWS[:64], ROWS[64:]
SPACE = {"learning_rate": hpo.Continuous(1e-3, 1, scale="log")}


class Net(torch.nn.Module):
    def __init__(self, hidden=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(4, hidden), torch.nn.Linear(hidden, 1)

    def forward(self, x=None, labels=None):
        output = self.last(torch.relu(self.first(x)))
        return {"loss": ((output - labels) ** 2).mean(), "logits": output}


def trainer_for(
    params, callbacks=(), *, out, epochs=9, model=None, kind=None, train=TRAIN, valid=VALID, compute=None, **given
):
    arguments = {
        "eval_strategy": "epoch", "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True,
        "per_device_train_batch_size": 16, "num_train_epochs": epochs, "dataloader_pin_memory": False, "seed": 1,
    }  # fmt: skip
    args = transformers.TrainingArguments(str(out), **{**arguments, **params, **given})
    trainer = (kind or transformers.Trainer)(
        Net() if model is None else model, args, train_dataset=train, eval_dataset=valid, callbacks=list(callbacks),
        compute_metrics=compute,
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def fit(params, callbacks=(), resume_from=None, **arguments):
    trainer = trainer_for(params, callbacks, **arguments)
    trainer.train(resume_from_checkpoint=resume_from)
    return trainer


def train(trial, callbacks=(), **arguments):
    return fit(trial.params, [TrialCallback(trial), *callbacks], trial.resume_from, **arguments)


def curve_of(trainer, name="eval_loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def tuner_for(*, pause=False, n=6, metric="eval_loss", most=9, **arguments):
    strategy = hpo.Hyperband(max_resource=most, pause=True, search="random") if pause else hpo.Random()
    given = {"strategy": strategy, "max_trials": n, "seed": 0, "progress": "off"}
    return hpo.Tuner(SPACE, hpo.Minimize(metric), **(given | arguments))


class Crash(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("crash")


def killed(tmp_path, monkeypatch, *, at=9, callbacks=(), **arguments):
    """Return a tuner whose only trial was killed at a step; 4 steps are an epoch, and each epoch is saved."""
    save_always(monkeypatch)
    first = tuner_for(n=1, storage=tmp_path / "study.db")
    with pytest.raises(RuntimeError, match="crash"):
        train(first.ask(), [*callbacks, Crash(at)], **{"out": tmp_path / "out"} | arguments)
    expire_lease(first, 0)
    return tuner_for(n=1, storage=tmp_path / "study.db")


def resumed(tuner):
    """The trials that were paused and resumed; there must be some."""
    records = [record for record in tuner.trials if record.attempts > 1]
    assert records
    return records


def same_weights(first, second):
    states = [trainer.model.state_dict() for trainer in (first, second)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# Phases.


class Count(transformers.TrainerCallback):
    def __init__(self, counts, *key):
        self.counts, self.key = counts, key

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.step = state.global_step

    def on_epoch_end(self, args, state, control, **kwargs):
        self.counts[self.key] += state.global_step > self.step


def check_phases(tuner, counts, calls):
    assert max(record.attempts for record in tuner.trials) > 1
    complete = [record for record in tuner.trials if record.state is hpo.TrialState.COMPLETED]
    assert complete
    for record in tuner.trials:
        trained = [counts[record.number, phase] for phase in range(len(calls))]
        assert sum(trained) == record.epochs
        assert list(record.curve) == list(range(1, record.epochs + 1))
        for phase, epochs in enumerate(calls):
            assert trained[phase] in (0, epochs) or not any(trained[phase + 1 :])
    for record in complete:
        assert [counts[record.number, phase] for phase in range(len(calls))] == list(calls)


@pytest.mark.parametrize(
    "calls", [(4, 5), *(pytest.param(calls, marks=pytest.mark.full) for calls in [(3, 6), (1, 8), (3, 3, 3)])]
)
def test_phases_are_trained_to_their_end_before_the_next_begins(calls, tmp_path):
    tuner, counts = tuner_for(pause=True), Counter()
    for trial in tuner:
        model = Net()
        for phase, epochs in enumerate(calls):
            train(trial, [Count(counts, trial.number, phase)], out=tmp_path, model=model, epochs=epochs)
    check_phases(tuner, counts, calls)


@pytest.mark.full
def test_chunks_of_one_trainer_are_trained_to_their_end(tmp_path):
    """The user's own way to continue training: the same Trainer, more epochs, its own checkpoint."""
    tuner, counts = tuner_for(pause=True), Counter()
    for trial in tuner:
        out, count = tmp_path / str(trial.number), Count(counts)
        trainer = trainer_for(trial.params, [TrialCallback(trial), count], out=out, epochs=3, save_strategy="epoch")
        for phase in range(3):
            count.key = (trial.number, phase)
            trainer.args.num_train_epochs = 3 * (phase + 1)
            own = max(out.glob("checkpoint-*"), key=lambda path: int(path.name[11:]), default=None)
            trainer.train(resume_from_checkpoint=trial.resume_from or (str(own) if phase and own else None))
    check_phases(tuner, counts, (3, 3, 3))


@pytest.mark.full
def test_phases_of_folds_are_trained_to_their_end(tmp_path):
    tuner, counts = tuner_for(pause=True), Counter()
    for trial in tuner:
        for fold in trial.folds(2):
            model = Net()
            for phase, epochs in enumerate((4, 5)):
                count = Count(counts, trial.number, fold.number, phase)
                train(fold, [count], out=tmp_path, model=model, epochs=epochs, valid=VALID[fold.number :: 2])
    complete = [record for record in tuner.trials if record.state is hpo.TrialState.COMPLETED]
    assert complete
    for record in tuner.trials:
        for fold in (0, 1):
            assert counts[record.number, fold, 0] == 4 or not counts[record.number, fold, 1]
    for record in complete:
        assert [counts[record.number, fold, phase] for fold in (0, 1) for phase in (0, 1)] == [4, 5, 4, 5]


# Whose files.


@pytest.mark.parametrize(
    ("save", "limit"),
    [("epoch", 1)]
    + [
        pytest.param(save, limit, marks=pytest.mark.full)
        for save, limit in [("no", None), ("no", 1), ("epoch", None), ("best", None), ("best", 1)]
    ],
)
def test_trials_that_share_output_dir_are_as_uninterrupted_ones(save, limit, tmp_path, caplog):
    best = {} if save == "no" else {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    tuner, trainers = tuner_for(pause=True, storage=tmp_path / "study.db"), {}
    for trial in tuner:
        trainers[trial.number] = train(
            trial, out=tmp_path / "out", save_strategy=save, save_total_limit=limit, **best
        )  # fmt: skip
        path = tuner.trials[trial.number].checkpoint
        if path is not None and save != "no":
            state = json.loads((Path(path) / "trainer_state.json").read_text())
            assert Path(state["best_model_checkpoint"]).is_relative_to(Path(path))
            assert Path(state["best_model_checkpoint"]).is_dir()
    for record in resumed(tuner):
        own = tmp_path / f"own-{record.number}"
        whole = fit(record.params, out=own, save_strategy=save, **best)
        assert list(record.curve.values()) == curve_of(whole)[: record.epochs]
        if record.state is hpo.TrialState.COMPLETED:
            assert same_weights(trainers[record.number], whole)
    assert ("trial.number into output_dir" in caplog.text) is (save != "no")
    if save == "no":
        assert list((tmp_path / "out").glob("*")) == []


def test_best_model_of_before_a_pause_is_loaded_at_the_end(tmp_path):
    """The first epoch is the best by the metric, and other trials have overwritten the user's folder of its step."""

    def compute(prediction):
        compute.calls += 1
        return {"worse": float(compute.calls)}

    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_worse", "greater_is_better": False}
    shared = {"save_strategy": "epoch", "compute": compute, **best}
    tuner, weights = tuner_for(pause=True), {}
    for trial in tuner:
        compute.calls = trial.start_epoch
        trainer = train(trial, out=tmp_path / "out", **shared)
        weights[trial.number] = copy.deepcopy(trainer.model.state_dict())
    for record in resumed(tuner):
        one = fit(record.params, out=tmp_path / "one", callbacks=[StopAfter(1)]).model.state_dict()
        assert all(torch.equal(one[name], weights[record.number][name]) for name in one)


class StopAfter(transformers.TrainerCallback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.epoch >= self.epochs


def test_folder_of_an_earlier_run_is_left_alone(tmp_path, caplog):
    kept = tmp_path / "out" / "checkpoint-4" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for trial in tuner_for(pause=True):
        train(trial, out=tmp_path / "out")
    assert kept.read_text() == "mine"
    assert [path.name for path in (tmp_path / "out").glob("**/*")] == ["checkpoint-4", "model.safetensors"]
    assert "output_dir" not in caplog.text
    for trial in tuner_for(n=1):
        train(trial, out=tmp_path / "out", save_strategy="epoch", epochs=1)
    assert "Put trial.number into output_dir" in caplog.text


def test_own_output_dirs_are_not_warned_of(tmp_path, caplog):
    for trial in tuner_for(pause=True):
        train(trial, out=tmp_path / str(trial.number), save_strategy="epoch")
    assert "output_dir" not in caplog.text


@pytest.mark.full
@pytest.mark.parametrize("arguments", [{"save_strategy": "best"}, {"save_only_model": True, "save_strategy": "epoch"}])
def test_users_own_way_to_save_changes_nothing(arguments, tmp_path):
    arguments = {"metric_for_best_model": "eval_loss", **arguments}
    tuner = tuner_for(pause=True, checkpoints="best")
    for trial in tuner:
        train(trial, out=tmp_path / str(trial.number), **arguments)
    for record in resumed(tuner):
        whole = fit(record.params, out=tmp_path / "own")
        assert list(record.curve.values()) == curve_of(whole)[: record.epochs]
    best = tuner.best_trial
    expected = fit(best.params, [StopAfter(best.best_epoch)], out=tmp_path / "own").model.state_dict()
    found = load_model(best, Net(3)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# What the framework's own callbacks know.


def stuck(prediction):
    return {"stuck": 1.0}


STUCK = {"metric_for_best_model": "eval_stuck", "compute": stuck}


def test_early_stopping_counts_on_over_a_pause(tmp_path):
    tuner = tuner_for(pause=True, most=27)
    patience = {"early_stopping_patience": 4}
    for trial in tuner:
        train(trial, [transformers.EarlyStoppingCallback(**patience)], out=tmp_path, epochs=27, **STUCK)
    assert max(record.attempts for record in tuner.trials) > 1
    ends = fit({}, [transformers.EarlyStoppingCallback(**patience)], out=tmp_path, epochs=27, **STUCK).state.epoch
    assert max(record.epochs for record in tuner.trials) == ends


class Tally(transformers.TrainerCallback, transformers.trainer_callback.ExportableState):
    def __init__(self, count):
        self.count = count

    def on_epoch_end(self, args, state, control, **kwargs):
        self.count += 1

    def state(self):
        return {"args": {"count": self.count}, "attributes": {"count": self.count}}


def test_each_of_two_stateful_callbacks_counts_on(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, at=13, callbacks=[Tally(0), Tally(100)])
    again = [Tally(0), Tally(100)]
    for trial in tuner:
        train(trial, again, out=tmp_path / "out")
    assert [tally.count for tally in again] == [9, 109]


@pytest.mark.parametrize("patience", [2, pytest.param(8, marks=pytest.mark.full)])
def test_early_stopping_at_the_epoch_of_a_pause_completes_the_trial(patience, tmp_path):
    tuner = tuner_for(pause=True)  # 1 + patience are rungs
    for trial in tuner:
        stop = transformers.EarlyStoppingCallback(early_stopping_patience=patience)
        train(trial, [stop], out=tmp_path, **STUCK)
    ended = [record for record in tuner.trials if record.epochs == 1 + patience]
    assert ended
    assert max(record.epochs for record in tuner.trials) == 1 + patience
    assert {record.state for record in ended} == {hpo.TrialState.COMPLETED}


@pytest.mark.parametrize("ends", [StopAfter(3), None])
def test_trial_that_is_lost_after_its_last_epoch_trains_no_other(ends, tmp_path, monkeypatch):
    save_always(monkeypatch)
    epochs = 9 if ends else 3
    first = tuner_for(n=1, storage=tmp_path / "study.db")
    whole = train(first.ask(), [ends] if ends else [], out=tmp_path, epochs=epochs)
    expire_lease(first, 0)
    tuner, counts = tuner_for(n=1, storage=tmp_path / "study.db"), Counter()
    for trial in tuner:
        assert trial.resume_from is not None
        trainer = train(trial, [Count(counts)], out=tmp_path, epochs=epochs, model=Net(3))
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    assert list(tuner.trials[0].curve) == [1, 2, 3]
    assert not any(counts.values())
    assert same_weights(trainer, whole)


# Several beginnings, and several evaluations.


class Finding(transformers.Trainer):
    """Runs out of memory at some step of its training, once."""

    fails_at = 0

    def training_step(self, *args, **kwargs):
        if self._train_batch_size == 16 and self.state.global_step == self.fails_at:
            raise RuntimeError("CUDA out of memory.")
        return super().training_step(*args, **kwargs)


@pytest.mark.parametrize(
    "fails_at", [pytest.param(0, marks=pytest.mark.full), 2, pytest.param(9, marks=pytest.mark.full)]
)
def test_auto_find_batch_size_begins_one_phase_again(fails_at, tmp_path, caplog):
    kind = type("Kind", (Finding,), {"fails_at": fails_at})
    tuner = tuner_for(n=1)
    for trial in tuner:
        trainer = train(trial, out=tmp_path, kind=kind, auto_find_batch_size=True, epochs=4)
    (record,) = tuner.trials
    assert trainer._train_batch_size < 16
    assert list(record.curve.values()) == curve_of(trainer)
    assert len(record.curve) == 4
    assert record.state is hpo.TrialState.COMPLETED
    assert ("keeps the weights" in caplog.text) is (fails_at > 0)


def test_auto_find_batch_size_begins_a_resumed_phase_again(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch)
    kind = type("Kind", (Finding,), {"fails_at": 8})
    for trial in tuner:
        trainer = train(trial, out=tmp_path / "out", kind=kind, auto_find_batch_size=True)
    assert trainer._train_batch_size < 16
    assert list(tuner.trials[0].curve) == list(range(1, len(tuner.trials[0].curve) + 1))
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


class EvaluatesTraining(transformers.TrainerCallback):
    def __init__(self, every):
        self.every = every

    def on_step_end(self, args, state, control, **kwargs):
        if self.every == "step":
            self._evaluate(control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.every == "epoch":
            self._evaluate(control)

    def _evaluate(self, control):
        kept = copy.copy(vars(control))
        self.trainer.evaluate(TRAIN, metric_key_prefix="train")
        vars(control).update(kept)


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_evaluation_of_other_data_before_the_objectives(every, tmp_path):
    tuner, reports = tuner_for(n=1), []
    for trial in tuner:
        other = EvaluatesTraining(every)
        other.trainer = trainer_for(trial.params, [TrialCallback(trial), other], out=tmp_path, epochs=3)
        other.trainer.train()
    (record,) = tuner.trials
    assert list(record.curve.values()) == curve_of(other.trainer)
    assert [record.metrics[epoch]["train_loss"] for epoch in record.curve] == curve_of(other.trainer, "train_loss")[
        (3 if every == "step" else 0) : -1 : (4 if every == "step" else 1)
    ]
    assert not reports


class AddsToResult(transformers.Trainer):
    def evaluate(self, *args, **kwargs):
        result = super().evaluate(*args, **kwargs)
        return {**result, "eval_root": math.sqrt(result["eval_loss"])}


def test_metrics_that_an_own_evaluate_adds_are_reported(tmp_path):
    tuner = tuner_for(n=1, metric="eval_root")
    for trial in tuner:
        trainer = train(trial, out=tmp_path, kind=AddsToResult, epochs=3)
    assert list(tuner.trials[0].curve.values()) == [math.sqrt(value) for value in curve_of(trainer)]


def test_evaluation_at_the_start_of_a_resumed_training_is_not_reported(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, eval_on_start=True)
    for trial in tuner:
        train(trial, out=tmp_path / "out", eval_on_start=True)
    whole = fit(tuner.trials[0].params, out=tmp_path)
    assert list(tuner.trials[0].curve.values()) == curve_of(whole)


# Checkpoints of other models.


class Deeper(Net):
    def __init__(self):
        super().__init__()
        self.more = torch.nn.Linear(1, 1)


class Shallower(Net):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Identity()
        self.last = torch.nn.Linear(4, 1)


OTHERS = {
    "larger": lambda: Net(5),
    "deeper": Deeper,
    "shallower": Shallower,
    "compiled": lambda: torch.compile(Net(), backend="eager"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_checkpoint_of_another_model_leaves_the_trial_as_it_is(other, tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch)
    with pytest.raises(hpo.CheckpointError, match="is of another model"):
        for trial in tuner:
            train(trial, out=tmp_path, model=OTHERS[other]())
    again = tuner_for(n=1, storage=tmp_path / "study.db")
    for trial in again:
        assert trial.start_epoch == 2
        train(trial, out=tmp_path)
    assert list(again.trials[0].curve.values()) == curve_of(fit(again.trials[0].params, out=tmp_path))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model"])
@pytest.mark.parametrize("is_missing", [False, True])
def test_damaged_checkpoint_is_named(name, is_missing, tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch)
    trial = tuner.ask()
    path = Path(trial.resume_from) / ("model.safetensors" if name == "model" else name)
    if is_missing:
        path.unlink()
    elif name == "rng_state.pth":
        pytest.skip("it is read after the training has begun")
    else:
        path.write_bytes(b"x")
    with pytest.raises(hpo.CheckpointError, match="damaged"):
        train(trial, out=tmp_path)


# Models of other forms.


def saved(tmp_path, build, **arguments):
    """Train with Tuner(checkpoints="best"); return the best trial, and the weights at its best epoch."""
    tuner = tuner_for(n=1, checkpoints="best", storage=tmp_path / "saved.db")
    for trial in tuner:
        train(trial, out=tmp_path, epochs=2, model=build(), **arguments)
    return tuner.best_trial


def bert(seed=0):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


TEXT = [{"input_ids": row.tolist(), "labels": int(row[0] < 8)} for row in RNG.integers(0, 16, (96, 8))]
TEXTS = {"train": TEXT[:64], "valid": TEXT[64:]}


def test_sharded_checkpoint_is_loaded(tmp_path, monkeypatch):
    save = transformers.PreTrainedModel.save_pretrained
    monkeypatch.setattr(
        transformers.PreTrainedModel, "save_pretrained",
        lambda self, *args, **kwargs: save(self, *args, **{**kwargs, "max_shard_size": "4KB"}),
    )  # fmt: skip
    best = saved(tmp_path, bert, **TEXTS)
    path = Path(best.best_checkpoint)
    assert (path / "model.safetensors.index.json").is_file()
    expected = transformers.BertForSequenceClassification.from_pretrained(path).state_dict()
    found = load_model(best, bert(7)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    next(path.glob("model-*.safetensors")).unlink()
    with pytest.raises(hpo.CheckpointError, match="damaged"):
        load_model(best, bert())


def adapted(seed=0, rank=2):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(bert(seed), peft.LoraConfig(task_type="SEQ_CLS", r=rank, target_modules=["query"]))


def test_adapters_of_peft_are_loaded_and_resumed(tmp_path, monkeypatch):
    tuner = killed(tmp_path, monkeypatch, model=adapted(), **TEXTS)
    for trial in tuner:
        trainer = train(trial, out=tmp_path, model=adapted(), **TEXTS)
    whole = fit(tuner.trials[0].params, out=tmp_path, model=adapted(), **TEXTS)
    assert list(tuner.trials[0].curve.values()) == curve_of(whole)
    assert same_weights(trainer, whole)

    best = saved(tmp_path, adapted, **TEXTS)
    model = load_model(best, adapted()).eval()
    ids = torch.tensor([row["input_ids"] for row in TEXT])
    expected = fit(best.params, [StopAfter(best.best_epoch)], out=tmp_path, epochs=2, model=adapted(), **TEXTS).model
    assert torch.equal(model(ids).logits, expected.eval()(ids).logits)
    with pytest.raises(hpo.CheckpointError, match="needs a PEFT model"):
        load_model(best, bert())
    with pytest.raises(hpo.CheckpointError, match="is of another model.*shape"):
        load_model(best, adapted(rank=3))


@pytest.mark.full
def test_compiled_model_is_loaded_into_a_plain_one(tmp_path):
    columns = {"remove_unused_columns": False, "label_names": ["labels"]}
    best = saved(tmp_path, lambda: torch.compile(bert(), backend="eager"), **columns, **TEXTS)
    stop = StopAfter(best.best_epoch)
    expected = fit(best.params, [stop], out=tmp_path, epochs=2, model=bert(), **TEXTS).model.state_dict()
    found = load_model(best, bert(7)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# Data with a state of its own.


class Stream(torch.utils.data.IterableDataset):
    """Draws its rows from a generator of its own."""

    def __init__(self, generator):
        self.generator = generator

    def __iter__(self):
        for _ in range(64):
            yield TRAIN[int(self._draw() * 64) % 64]

    def _draw(self):
        if isinstance(self.generator, torch.Generator):
            return torch.rand(1, generator=self.generator).item()
        return self.generator.random()


class Shuffled(torch.utils.data.IterableDataset):
    """Is told the number of its epoch, as those of Hugging Face are."""

    def set_epoch(self, epoch):
        self.order = torch.randperm(64, generator=torch.Generator().manual_seed(epoch))

    def __iter__(self):
        return (TRAIN[row] for row in self.order)


class Counting(torch.utils.data.Sampler):
    """Counts its epochs, and begins each with another row."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        return iter([(7 * self.epoch + row) % 64 for row in range(64)])

    def __len__(self):
        return 64


class Noisy(torch.utils.data.Dataset):
    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __len__(self):
        return 64

    def __getitem__(self, row):
        return {"x": X[row] + self.rng.normal(size=4).astype("float32"), "labels": Y[row]}


def kind_with(make):
    class Kind(transformers.Trainer):
        def get_train_dataloader(self):
            return make()

    return Kind


def loader(sampler=None, **arguments):
    collate = transformers.default_data_collator
    return torch.utils.data.DataLoader(TRAIN, 16, sampler=sampler, collate_fn=collate, **arguments)


DATA = {
    "torch generator": lambda: {"train": Stream(torch.Generator().manual_seed(3)), "max_steps": 36},
    "numpy generator": lambda: {"train": Stream(np.random.default_rng(3)), "max_steps": 36},
    "numpy's old generator": lambda: {"train": Stream(np.random.RandomState(3)), "max_steps": 36},
    "python generator": lambda: {"train": Stream(random.Random(3)), "max_steps": 36},  # noqa: S311
    "epochs": lambda: {"train": Shuffled(), "max_steps": 36},
    "own sampler": lambda: {"kind": kind_with(lambda sampler=Counting(): loader(sampler))},  # noqa: B008
    "shuffling loader": lambda: {
        "kind": kind_with(lambda g=torch.Generator().manual_seed(3): loader(shuffle=True, generator=g))  # noqa: B008
    },
    "noise": lambda: {"train": Noisy()},
}


@pytest.mark.parametrize(
    "name", [name if name == "torch generator" else pytest.param(name, marks=pytest.mark.full) for name in DATA]
)
def test_data_with_a_state_of_its_own_goes_on(name, tmp_path, caplog):
    tuner = tuner_for(pause=True)
    for trial in tuner:
        train(trial, out=tmp_path, **DATA[name]())
    for record in resumed(tuner):
        assert (
            list(record.curve.values()) == curve_of(fit(record.params, out=tmp_path, **DATA[name]()))[: record.epochs]
        )
    assert "cannot restore" not in caplog.text


@pytest.mark.full
@pytest.mark.parametrize("name", ["torch generator", "numpy generator", "epochs", "own sampler", "shuffling loader"])
def test_data_with_a_state_of_its_own_goes_on_within_an_epoch(name, tmp_path, monkeypatch, caplog):
    steps = {"eval_strategy": "steps", "eval_steps": 3}
    tuner = killed(tmp_path, monkeypatch, at=7, **steps, **DATA[name]())  # saved at step 6
    for trial in tuner:
        assert trial.start_epoch == 6
        train(trial, out=tmp_path, **steps, **DATA[name]())
    whole = fit(tuner.trials[0].params, out=tmp_path, **steps, **DATA[name]())
    assert list(tuner.trials[0].curve.values()) == curve_of(whole)
    assert "cannot restore" not in caplog.text


class Lines(torch.utils.data.IterableDataset):
    def __init__(self):
        self.rows = iter(TRAIN * 100)

    def __iter__(self):
        return iter([next(self.rows) for _ in range(64)])


LOST = {
    "iterator": (lambda: {"train": Lines(), "max_steps": 36}, "contains an iterator"),
    "workers": (
        lambda: {"train": Stream(np.random.default_rng(3)), "max_steps": 36, "dataloader_num_workers": 1},
        "worker processes",
    ),
    "noise": (lambda: {"train": Noisy(), "eval_strategy": "steps", "eval_steps": 2}, "draws while it is read"),
}


@pytest.mark.parametrize("name", LOST)
def test_data_that_cannot_be_restored_is_warned_of_once_at_the_first_start(name, tmp_path, caplog):
    make, message = LOST[name]
    tuner = tuner_for(pause=True, n=2)
    for trial in tuner:
        train(trial, out=tmp_path, epochs=1, **{**make(), "max_steps": 2})
    assert caplog.text.count("cannot restore the state of its data") == 1
    assert message in caplog.text
