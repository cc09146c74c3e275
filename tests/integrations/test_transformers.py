"""The Trainer of Hugging Face Transformers: a small, randomly initialised BERT on text that ships with Python."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import expire_lease, save_always

import hpo_plugins as hpo

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from hpo_plugins.integrations.transformers import TrialCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*", "ignore:.*lr_scheduler.step.*")
SPACE = {"learning_rate": hpo.Categorical([5e-3, 1e-6])}
LENGTH = 12


def examples(count, shift=0):
    """Words of the Zen of Python and of Python's copyright notice: is it from the first?"""
    import this

    table = str.maketrans("".join(this.d), "".join(this.d.values()))
    zen = this.s.translate(table).split()
    other = sys.copyright.split()
    rows = []
    for number in range(shift, shift + count):
        words, label = (zen, 1) if number % 2 else (other, 0)
        text = words[number % len(words)].lower()[:LENGTH].ljust(LENGTH)
        rows.append({"input_ids": [ord(c) % 128 for c in text], "labels": label})
    return rows


TRAIN, VALID = examples(48), examples(32, 100)


def model_of(seed=0):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=128, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=LENGTH, num_labels=2,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def accuracy(prediction):
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def trainer_for(trial, folder, *, epochs=4, model=None, callbacks=(), eval_dataset=VALID, **arguments):
    given = {
        "eval_strategy": "epoch", "save_strategy": "no", "logging_strategy": "epoch", "report_to": [],
        "per_device_train_batch_size": 8, "num_train_epochs": epochs, "disable_tqdm": True, "use_cpu": True, "seed": 1,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    args = transformers.TrainingArguments(str(folder), **{**given, **trial.params, **arguments})
    return transformers.Trainer(
        model or model_of(), args, train_dataset=TRAIN, eval_dataset=eval_dataset, compute_metrics=accuracy,
        callbacks=[TrialCallback(trial), *callbacks],
    )  # fmt: skip


def train(trial, folder, **arguments):
    trainer = trainer_for(trial, folder, **arguments)
    trainer.train(resume_from_checkpoint=trial.resume_from)
    return trainer


def tuner_for(metric="eval_loss", strategy=None, **arguments):
    strategy = strategy or hpo.Random()
    given = {"strategy": strategy, "seed": 0, "max_trials": 1, "progress": "off"}
    return hpo.Tuner(SPACE, hpo.Minimize(metric), **(given | arguments))


class Crash(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_every_epoch_is_recorded_with_all_metrics(tmp_path):
    tuner = tuner_for()
    for trial in tuner:
        trainer = train(trial, tmp_path)
    record = tuner.trials[0]
    logged = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert list(record.curve.items()) == list(enumerate(logged, 1))
    assert {"eval_loss", "eval_accuracy", "loss", "learning_rate"} <= set(record.metrics[2])
    assert record.state is hpo.TrialState.COMPLETED
    assert list(tmp_path.iterdir()) == []


def test_stop_ends_the_training_as_the_trainer_does(tmp_path):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=2))
    ended = []

    class Spy(transformers.TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            ended.append(state.epoch)

    trial = tuner.ask()
    trainer = train(trial, tmp_path, callbacks=[Spy()])
    trial.end()
    assert trainer.state.global_step == 12
    assert ended == [2.0]
    assert tuner.trials[0].stop_reason == "reached max_resource=2"


def test_steps_are_the_resource_with_evaluation_by_steps(tmp_path):
    tuner = tuner_for(strategy=hpo.Hyperband(min_resource=3, max_resource=9))
    trial = tuner.ask()
    trainer = train(trial, tmp_path, eval_strategy="steps", eval_steps=3)
    trial.end()
    assert list(tuner.trials[0].curve) == [3, 6, 9]
    assert trainer.state.global_step == 9


def test_rung_between_two_evaluations_is_judged_at_the_next(tmp_path):
    tuner = tuner_for(strategy=hpo.Hyperband(min_resource=1, max_resource=10, search="random"), max_trials=4)
    for trial in tuner:
        train(trial, tmp_path, eval_strategy="steps", eval_steps=4, max_steps=24)
    assert {epoch for record in tuner.trials for epoch in record.curve} <= {4, 8, 12}
    assert max(record.epochs for record in tuner.trials) == 12


def test_without_evaluation_the_log_is_reported(tmp_path):
    tuner = tuner_for("loss")
    for trial in tuner:
        train(trial, tmp_path, eval_strategy="no")
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]
    assert "train_loss" not in tuner.trials[0].metrics[4]


def test_separate_evaluation_does_not_count(tmp_path):
    tuner = tuner_for()
    trial = tuner.ask()
    trainer = trainer_for(trial, tmp_path, eval_on_start=True)
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_several_evaluation_sets_are_one_report(tmp_path):
    tuner = tuner_for("eval_second_loss")
    trial = tuner.ask()
    train(trial, tmp_path, epochs=2, eval_dataset={"first": VALID[:8], "second": VALID[8:]})
    record = tuner.trials[0]
    assert list(record.curve) == [1, 2]
    assert {"eval_first_loss", "eval_second_loss"} <= set(record.metrics[1])


def test_checkpoint_of_several_evaluation_sets_is_not_left_behind(tmp_path, monkeypatch):
    save_always(monkeypatch)
    tuner = tuner_for("eval_first_loss", storage=tmp_path / "study.db", checkpoints="keep")
    for trial in tuner:
        train(trial, tmp_path / "out", epochs=2, eval_dataset={"first": VALID[:8], "second": VALID[8:]})
    assert tuner.trials[0].checkpoint is not None
    assert list((tmp_path / "out").glob("*")) == []


def test_unfinished_last_epoch_counts(tmp_path):
    tuner = tuner_for()
    trial = tuner.ask()
    train(trial, tmp_path, epochs=1.5)
    assert list(tuner.trials[0].curve) == [1, 2]


@pytest.mark.parametrize("metric", ["eval_los", "val_loss"])
def test_missing_metric_is_an_error_after_the_first_epoch(metric, tmp_path):
    trial = tuner_for(metric).ask()
    with pytest.raises(hpo.MetricNotFound, match="'eval_loss'"):
        train(trial, tmp_path)


def test_own_early_stopping_beside_it_keeps_working(tmp_path):
    tuner = tuner_for()
    trial = tuner.ask()
    stop = transformers.EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=1.0)
    best = {"load_best_model_at_end": True, "save_strategy": "epoch", "metric_for_best_model": "eval_loss"}
    trainer = train(trial, tmp_path, epochs=8, callbacks=[stop], **best)
    trial.end()
    assert tuner.trials[0].epochs == 2
    assert trainer.state.best_model_checkpoint is not None


# Going on.


def interrupted(tmp_path, monkeypatch, crash_at, **arguments):
    save_always(monkeypatch)
    first = tuner_for(storage=tmp_path / "study.db")
    with pytest.raises(RuntimeError):
        train(first.ask(), tmp_path / "out", callbacks=[Crash(crash_at)], **arguments)
    expire_lease(first, 0)
    return tuner_for(storage=tmp_path / "study.db")


@pytest.mark.parametrize("save_strategy", ["no", "epoch", "steps"])
def test_resumed_training_is_bit_identical(save_strategy, tmp_path, monkeypatch):
    arguments = {"save_strategy": save_strategy, "save_steps": 6, "save_total_limit": 1}
    tuner = interrupted(tmp_path, monkeypatch, 13, **arguments)
    trial = tuner.ask()
    assert trial.start_epoch == 2
    trainer = train(trial, tmp_path / "out", model=model_of(5), **arguments)
    trial.end()
    whole = tuner_for()
    expected = train(other := whole.ask(), tmp_path / "other")
    other.end()
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert equal(weights(trainer), weights(expected))
    left = [path.name for path in (tmp_path / "out").glob("*")]
    assert left == ([] if save_strategy == "no" else ["checkpoint-24"])


def test_paused_trainings_go_on(tmp_path):
    strategy = hpo.Hyperband(max_resource=4, reduction_factor=2, pause=True, search="random")
    tuner = hpo.Tuner(
        {"learning_rate": hpo.Continuous(1e-5, 1e-2, "log")}, hpo.Minimize("eval_loss"), strategy=strategy,
        max_trials=5, seed=0, storage=tmp_path / "study.db", progress="off",
    )  # fmt: skip
    attempts = []
    for trial in tuner:
        attempts.append(trial.attempt)
        train(trial, tmp_path / "out")
    assert max(attempts) > 1
    assert all(list(record.curve) == list(range(1, record.epochs + 1)) for record in tuner.trials)
    assert list((tmp_path / "out").glob("*")) == []


def test_steps_are_resumed_within_an_epoch(tmp_path, monkeypatch):
    arguments = {"eval_strategy": "steps", "eval_steps": 4, "max_steps": 12}
    tuner = interrupted(tmp_path, monkeypatch, 9, **arguments)
    trial = tuner.ask()
    assert trial.start_epoch == 8
    trainer = train(trial, tmp_path / "out", model=model_of(5), **arguments)
    trial.end()
    whole = tuner_for()
    expected = train(whole.ask(), tmp_path / "other", **arguments)
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert equal(weights(trainer), weights(expected))


def test_forgotten_argument_starts_over_or_is_an_error(tmp_path, monkeypatch):
    tuner = interrupted(tmp_path, monkeypatch, 13)
    trial = tuner.ask()
    trainer_for(trial, tmp_path / "out").train()
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_second_training_of_the_model_continues_the_trial(tmp_path, monkeypatch):
    def both(trial, folder, callbacks=()):
        model = model_of(3)
        first = train(trial, folder, epochs=2, model=model)
        second = train(trial, folder, epochs=3, model=model, learning_rate=1e-4, callbacks=callbacks)
        return first, second

    whole = tuner_for()
    _, expected = both(whole.ask(), tmp_path / "a")
    assert list(whole.trials[0].curve) == [1, 2, 3, 4, 5]

    save_always(monkeypatch)
    before = tuner_for(storage=tmp_path / "study.db")
    with pytest.raises(RuntimeError):
        both(before.ask(), tmp_path / "b", [Crash(7)])  # in the second phase's second epoch
    expire_lease(before, 0)
    tuner = tuner_for(storage=tmp_path / "study.db")
    trial = tuner.ask()
    assert trial.start_epoch == 3
    first, second = both(trial, tmp_path / "b")
    trial.end()
    assert first.state.global_step == 0
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert equal(weights(second), weights(expected))


def test_another_models_training_is_an_error(tmp_path):
    trial = tuner_for().ask()
    train(trial, tmp_path, epochs=1)
    with pytest.raises(hpo.InvalidReport, match="Another training begins"):
        train(trial, tmp_path, epochs=1)


def test_folds_are_averaged(tmp_path):
    tuner = tuner_for()
    for trial in tuner:
        for fold in trial.folds(2):
            trainer_for(fold, tmp_path, epochs=2, eval_dataset=VALID[fold.number :: 2]).train()
    assert [len(fold) for fold in tuner.trials[0].folds] == [2, 2]


SCRIPT = Path(__file__).parent / "scripts" / "transformers_ddp.py"


@pytest.mark.full
def test_ranks_of_torchrun_share_trials_and_stop_together(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*torchrun, SCRIPT, tmp_path / "study.db", tmp_path / "result"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    ranks = [
        [json.loads(line) for line in Path(f"{tmp_path}/result.{rank}").read_text().splitlines()] for rank in (0, 1)
    ]
    assert ranks[0] == ranks[1]
    trials = hpo.Tuner.load(tmp_path / "study.db").trials
    assert [trial.epochs for trial in trials] == [epochs for _, epochs in ranks[0]]
    assert {trial.attempts for trial in trials} == {1, 2}  # paused and resumed on both ranks
    assert min(trial.epochs for trial in trials) < max(trial.epochs for trial in trials)
