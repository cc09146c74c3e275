"""Keras training runs in several calls of ``fit``, in folds, and with state in more places than the model."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import KFold

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from hpo_plugins.integrations.keras import TrialCallback  # noqa: E402
from support import EpochCounts, save_always  # noqa: E402

import hpo_plugins as hpo  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IS_EXACT = keras.backend.backend() != "tensorflow"
SPACE = {"lr": hpo.Continuous(1e-3, 0.1, scale="log")}


@pytest.fixture(scope="module")
def data():
    x, y = load_wine(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


def build(seed=0, lr=0.05, **compiled):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((13,)),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    compile_model(model, lr, **compiled)
    return model


def compile_model(model, lr, **compiled):
    model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", **compiled)


def fit(model, data, *callbacks, epochs, **arguments):
    x, y = data
    arguments = {"validation_data": (x[120:], y[120:]), "batch_size": 40, "verbose": 0, "shuffle": IS_EXACT} | arguments
    return model.fit(x[:120], y[:120], epochs=epochs, callbacks=list(callbacks), **arguments)


class Epochs(keras.callbacks.Callback):
    """What was really trained, in all trials and attempts; dies after some epochs."""

    def __init__(self, die_after=None):
        super().__init__()
        self.trained, self.die_after = {}, die_after

    def of(self, trial):
        self.number = trial.number
        return self

    def on_epoch_begin(self, epoch, logs=None):
        if self.die_after is not None and sum(map(sum, self.trained.values())) >= self.die_after:
            self.die_after = None
            raise KeyboardInterrupt
        self.trained.setdefault(self.number, []).append(1)

    def counts(self):
        return {number: len(epochs) for number, epochs in self.trained.items()}


def pausing(**arguments):
    return hpo.Tuner(
        SPACE,
        hpo.Minimize("val_loss"),
        strategy=hpo.Hyperband(max_resource=9, reduction_factor=2, pause=True),
        seed=0,
        **arguments,
    )


def weights(model):
    return [keras.ops.convert_to_numpy(each) for each in model.weights]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


SCRIPTS = {
    "absolute": lambda model, data, *callbacks: (
        fit(model, data, *callbacks, epochs=3),
        fit(model, data, *callbacks, initial_epoch=3, epochs=9),
    ),
    "relative": lambda model, data, *callbacks: (
        fit(model, data, *callbacks, epochs=3),
        fit(model, data, *callbacks, epochs=6),
    ),
    "a loop of fits": lambda model, data, *callbacks: [fit(model, data, *callbacks, epochs=1) for _ in range(9)],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=list(SCRIPTS))
def test_epochs_count_on_over_phases_that_are_paused(data, script):
    tuner, epochs = pausing(max_trials=9), Epochs()
    for trial in tuner:
        script(build(0, trial["lr"]), data, TrialCallback(trial), epochs.of(trial))
    assert epochs.counts() == {t.number: t.epochs for t in tuner.trials}  # none twice, none left out
    for record in tuner.trials:
        assert list(record.curve) == list(range(1, record.epochs + 1))
    assert any(t.attempts > 1 for t in tuner.trials)
    assert max(t.epochs for t in tuner.trials) == 9 > min(t.epochs for t in tuner.trials)


def fine_tune(model, data, *callbacks):
    """The script of Keras's guide to transfer learning: the same model, more layers to train, compiled again."""
    first = model.layers[0]
    first.trainable = False
    compile_model(model, 0.05)
    before = fit(model, data, *callbacks, epochs=4)
    first.trainable = True
    compile_model(model, 0.01)
    after = fit(model, data, *callbacks, initial_epoch=before.epoch[-1], epochs=9)
    return before.history["val_loss"], after.history["val_loss"]


@pytest.mark.parametrize("die_after", range(1, 10))
def test_killed_fine_tuning_equals_one_that_was_not(data, tmp_path, monkeypatch, die_after):
    save_always(monkeypatch)
    expected = build(0)
    history = fine_tune(expected, data)
    assert len(history[1]) == 6
    epochs, seed = Epochs(die_after), 0
    for _ in range(2):
        tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db")
        try:
            for trial in tuner:
                model = build(seed)
                found = fine_tune(model, data, TrialCallback(trial), epochs.of(trial))
        except KeyboardInterrupt:
            seed += 1
    assert epochs.counts() == {0: 10}
    assert list(tuner.trials[0].curve) == list(range(1, 11))
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    if IS_EXACT:
        assert found == history
        assert_same(weights(model), weights(expected))


def test_folds_are_trained_by_their_own_models(data, tmp_path):
    x, y = data
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=2, seed=0, storage=tmp_path / "a.db")
    finals = {}
    for trial in tuner:
        splits = KFold(3, shuffle=True, random_state=0).split(x)
        for fold, (train, valid) in zip(trial.folds(3), splits, strict=False):
            model = build(0, trial["lr"])
            history = model.fit(
                x[train], y[train], validation_data=(x[valid], y[valid]), epochs=4, batch_size=40, verbose=0,
                callbacks=[TrialCallback(fold)],
            )  # fmt: skip
            finals.setdefault(trial.number, []).append(history.history["val_loss"])
    for record in tuner.trials:
        assert record.state is hpo.TrialState.COMPLETED
        assert [list(curve.values()) for curve in record.folds] == finals[record.number]
        assert record.curve[4] == pytest.approx(np.mean([losses[3] for losses in finals[record.number]]))
        assert record.metrics[4]["val_loss-std"] == pytest.approx(
            np.std([losses[3] for losses in finals[record.number]])
        )


def test_killed_fold_continues_where_it_was(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    epochs = Epochs(die_after=7)
    for _ in range(2):
        tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db")
        try:
            for trial in tuner:
                for fold in trial.folds(3):
                    fit(build(fold.number), data, TrialCallback(fold), epochs.of(trial), epochs=4)
        except KeyboardInterrupt:
            pass
    assert epochs.counts() == {0: 12}
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    assert [list(curve) for curve in tuner.trials[0].folds] == [[1, 2, 3, 4]] * 3


class OwnEarlyStopping(keras.callbacks.EarlyStopping):
    """A class of the user's, derived from Keras's."""


class OwnPlateau(keras.callbacks.ReduceLROnPlateau):
    """Another one."""


def paused_at(epoch):
    strategy = hpo.Hyperband(min_resource=epoch, max_resource=99, reduction_factor=99, pause=True)
    return hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=1, seed=0)


def test_classes_derived_from_counting_callbacks_are_restored(data):
    def callbacks():
        return [OwnPlateau(patience=1, factor=0.5, min_delta=0.1), OwnEarlyStopping(patience=4, min_delta=0.1)]

    expected = build(0)
    history = fit(expected, data, *callbacks(), epochs=20)
    assert len(history.epoch) < 20
    for trial in paused_at(4):
        model = build(trial.attempt - 1)
        found = fit(model, data, TrialCallback(trial), *callbacks(), epochs=20)
    assert found.epoch == history.epoch
    if IS_EXACT:
        assert_same(weights(model), weights(expected))


@keras.saving.register_keras_serializable()
class TwoOptimizers(keras.Model):
    """A model with a training step and optimisers of its own, as GANs have."""

    def __init__(self, lr=0.05):
        super().__init__()
        self.first = keras.Sequential([keras.layers.Input((13,)), keras.layers.Dense(8, activation="tanh")])
        self.second = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        self.optimizers_of_parts = {
            "second": keras.optimizers.Adam(lr), "first": keras.optimizers.SGD(lr, momentum=0.9)
        }  # fmt: skip
        self.loss_fn = keras.losses.SparseCategoricalCrossentropy()

    def call(self, x):
        return self.second(self.first(x))

    def train_step(self, batch):
        x, y = batch
        loss = self.loss_fn(y, self(x, training=True))
        self.zero_grad()
        loss.backward()
        for name, part in (("first", self.first), ("second", self.second)):
            variables = part.trainable_variables
            self.optimizers_of_parts[name].apply([v.value.grad for v in variables], variables)
        return {"loss": loss.item()}

    def test_step(self, batch):
        x, y = batch
        return {"loss": self.loss_fn(y, self(x, training=False)).item()}


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the training step is written in PyTorch")
def test_all_optimizers_of_a_model_are_restored(data):
    def new_model(seed):
        keras.utils.set_random_seed(seed)
        model = TwoOptimizers()
        model.compile()
        return model

    expected = new_model(0)
    fit(expected, data, epochs=6)
    for trial in paused_at(3):
        model = new_model(trial.attempt - 1)
        fit(model, data, TrialCallback(trial), epochs=6)
    assert trial.attempt == 2
    assert_same(weights(model), weights(expected))


def test_metric_that_is_a_vector_is_left_out(data, caplog):
    x, y = data
    one_hot = keras.utils.to_categorical(y)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((13,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    strategy = hpo.Hyperband(min_resource=2, max_resource=99, reduction_factor=99, pause=True)
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=strategy, max_trials=1)
    for trial in tuner:  # paused and resumed: the history, vectors included, is in the checkpoint
        history = model.fit(x, one_hot, epochs=3, verbose=0, callbacks=[TrialCallback(trial)])
    assert np.shape(history.history["f1_score"]) == (3, 3)
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    assert set(tuner.trials[0].metrics[3]) == {"loss"}
    assert caplog.text.count("metrics['f1_score'] must be one number") == 1


def test_validation_that_never_runs_costs_one_training(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=12, seed=0)
    with pytest.raises(hpo.MetricNotFound, match=r"in a whole training of 3 epochs.*No validation ran"):
        for trial in tuner:
            fit(build(), data, TrialCallback(trial), epochs=3, validation_freq=10)
    assert [t.state for t in tuner.trials] == [hpo.TrialState.FAILED]


def test_rung_that_passes_before_the_first_validation_is_judged_at_it(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=9), max_trials=9, seed=0)
    for trial in tuner:
        fit(build(0, trial["lr"]), data, TrialCallback(trial), epochs=9, validation_freq=4)
    assert {t.epochs for t in tuner.trials} == {4, 9}


class LaterMetric(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["own"] = 1.0


def test_metric_of_a_later_callback_is_found_if_it_comes_before(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("own"), max_trials=2)
    trial = tuner.ask()
    with pytest.raises(hpo.MetricNotFound, match="If LaterMetric adds it, put it before TrialCallback"):
        fit(build(), data, TrialCallback(trial), LaterMetric(), epochs=2)
    fit(build(), data, LaterMetric(), TrialCallback(tuner.ask()), epochs=2)
    assert tuner.trials[1].curve == {1: 1.0, 2: 1.0}


@pytest.mark.skipif(IS_EXACT, reason="only tf.data cannot save the state of its shuffling")
def test_what_tensorflow_cannot_restore_is_said_at_once(data, caplog):
    for trial in paused_at(2):
        fit(build(), data, TrialCallback(trial), epochs=3, shuffle=True)
    assert caplog.text.count("shuffles its data anew") == 1


class Counting(EpochCounts, keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.count_begin(KeyboardInterrupt)

    def on_epoch_end(self, epoch, logs=None):
        self.count_end()


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("lengths", [(4, 5), (3, 6), (2, 2, 2, 2, 1)], ids=str)
def test_epochs_of_each_phase_are_all_trained_over_pauses(data, lengths, folded):
    strategy = hpo.Hyperband(max_resource=9, reduction_factor=2, pause=True, search="random")
    tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=12, seed=0)
    counting = Counting()
    for trial in tuner:
        for handle in trial.folds(2) if folded else [trial]:
            fold = handle.number if folded else 0
            model = build(0, trial["lr"])
            for phase, epochs in enumerate(lengths):
                fit(model, data, TrialCallback(handle), counting.of(trial.number, fold, phase), epochs=epochs)
    assert any(t.attempts > 1 and t.epochs > 4 for t in tuner.trials)
    for record in tuner.trials:
        for fold, curve in enumerate(record.folds if folded else [record.curve]):
            left, expected = len(curve), {}
            for phase, epochs in enumerate(lengths):
                expected[phase], left = min(left, epochs), max(0, left - epochs)
            assert {phase: counting.trained.get((record.number, fold, phase), 0) for phase in expected} == expected


def stopping_early(**arguments):
    return keras.callbacks.EarlyStopping(patience=2, min_delta=0.5, restore_best_weights=True, **arguments)


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_early_stopping_at_the_epoch_of_a_pause_completes_the_trial(data, place):
    expected = build(0)
    history = fit(expected, data, stopping_early(), epochs=20)
    assert len(history.epoch) < 20
    tuner, counting = paused_at(len(history.epoch)), Counting()
    for trial in tuner:
        callbacks = [TrialCallback(trial), counting.of(0)]
        callbacks.insert(place, stopping_early())
        model = build(0)
        fit(model, data, *callbacks, epochs=20)
    (record,) = tuner.trials
    assert (record.state, record.attempts) == (hpo.TrialState.COMPLETED, 1)
    assert counting.trained == {(0,): len(history.epoch)}
    if IS_EXACT:
        assert_same(weights(model), weights(expected))


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_phase_that_early_stopping_has_ended_is_over_after_a_pause(data, place, leaves):
    """The next phase begins with the best weights of the one before, paused at its end or within the next."""

    def script(model, counting, callbacks=list, stops=lambda: False):
        own = callbacks()
        own.insert(place, stopping_early())
        fit(model, data, *own, counting.of(0), epochs=20)
        if not stops():
            fit(model, data, *callbacks(), counting.of(1), epochs=4)
        return model

    alone = Counting()
    expected = script(build(0), alone)
    for extra in (0, 1, 2):
        counting = Counting()
        for trial in paused_at(alone.trained[0,] + extra):
            stops = (lambda trial=trial: trial.should_stop) if leaves else (lambda: False)
            model = script(build(trial.attempt - 1), counting, lambda trial=trial: [TrialCallback(trial)], stops)
        assert trial.attempt == 2
        assert counting.trained == alone.trained
        if IS_EXACT:
            assert_same(weights(model), weights(expected))


def test_killed_after_early_stopping_ended_a_phase_trains_no_more_of_it(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    alone = Counting()

    def script(model, counting, *callbacks):
        fit(model, data, *callbacks, stopping_early(), counting.of(0), epochs=20)
        fit(model, data, *callbacks, counting.of(1), epochs=3)

    expected = build(0)
    script(expected, alone)
    counting = Counting(die_after=alone.trained[0,])
    for seed in range(2):
        tuner = hpo.Tuner(SPACE, hpo.Minimize("val_loss"), max_trials=1, seed=0, storage=tmp_path / "a.db")
        try:
            for trial in tuner:
                model = build(seed)
                script(model, counting, TrialCallback(trial))
        except KeyboardInterrupt:
            pass
    assert counting.trained == alone.trained
    if IS_EXACT:
        assert_same(weights(model), weights(expected))


class Shrinks(keras.callbacks.Callback):
    """Changes the weights when an epoch ends, as pruning and averaging do."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[0].set_weights([0.9 * each for each in self.model.layers[0].get_weights()])


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
@pytest.mark.parametrize("kind", ["swap at epochs", "swap at validations", "own"])
def test_callbacks_that_change_weights_are_resumed_at_one_moment(data, kind, place):
    def changing():
        return Shrinks() if kind == "own" else keras.callbacks.SwapEMAWeights(swap_on_epoch=kind == "swap at epochs")

    def new_model(seed):
        model = build(seed)
        model.compile(keras.optimizers.Adam(0.05, use_ema=True), "sparse_categorical_crossentropy")
        return model

    expected = new_model(0)
    history = fit(expected, data, changing(), epochs=6)
    for trial in paused_at(3):
        callbacks = [TrialCallback(trial)]
        callbacks.insert(place, changing())
        model = new_model(trial.attempt - 1)
        found = fit(model, data, *callbacks, epochs=6)
    assert trial.attempt == 2
    if IS_EXACT:
        assert found.history == history.history
        assert_same(weights(model), weights(expected))


def test_backup_of_another_trial_is_an_error_in_a_new_one(data, tmp_path):
    backup = keras.callbacks.BackupAndRestore
    fit(build(0), data, backup(tmp_path, delete_checkpoint=False), epochs=3)
    for place in range(2):
        tuner = pausing(max_trials=3)
        trial = tuner.ask()
        callbacks = [TrialCallback(trial)]
        callbacks.insert(place, backup(tmp_path, delete_checkpoint=False))
        with pytest.raises(
            hpo.InvalidArgument, match=r"Trial 0 is new, but its training resumes after epoch 3 .*Backup"
        ):
            fit(build(1), data, *callbacks, epochs=9)


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_backup_in_a_resumed_trial_gives_way_to_its_checkpoint(data, tmp_path, place):
    expected = build(0)
    fit(expected, data, epochs=6)
    counting = Counting()
    for trial in paused_at(4):
        callbacks = [TrialCallback(trial), counting.of(0)]
        callbacks.insert(place, keras.callbacks.BackupAndRestore(tmp_path))
        model = build(trial.attempt - 1)
        fit(model, data, *callbacks, epochs=6)
        fit(build(7), data, keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False), epochs=2)  # another
    assert counting.trained == {(0,): 6}
    if IS_EXACT:
        assert_same(weights(model), weights(expected))


def test_checkpoint_of_another_training_is_an_error_that_leaves_the_trial(data):
    tuner = paused_at(3)
    trial = tuner.ask()
    fit(build(0), data, TrialCallback(trial), epochs=6)
    trial.end()
    others = {
        "variables of shapes": keras.Sequential([keras.layers.Input((13,)), keras.layers.Dense(3)]),
        "its optimisers are Adam": build(0),
    }
    compile_model(others["variables of shapes"], 0.05)
    others["its optimisers are Adam"].compile(keras.optimizers.AdamW(0.05), "sparse_categorical_crossentropy")
    for difference, model in others.items():
        with pytest.raises(hpo.CheckpointError, match=rf"is of another model: .*{difference}.* tuner.restart\(0\)"):
            for trial in tuner:
                fit(model, data, TrialCallback(trial), epochs=6)
        assert not tuner.trials[0].state.is_final
    for trial in tuner:  # it can still be resumed
        fit(build(1), data, TrialCallback(trial), epochs=6)
    assert tuner.trials[0].epochs == 6


def test_layers_that_were_frozen_cannot_be_trained_after_a_resume(data):
    def freezable(trainable):
        model = build(0)
        model.layers[0].trainable = trainable
        compile_model(model, 0.05)
        return model

    tuner = paused_at(3)
    with pytest.raises(hpo.CheckpointError, match="its optimiser trains fewer of the layers"):
        for trial in tuner:
            fit(freezable(trial.attempt > 1), data, TrialCallback(trial), epochs=6)
    assert not tuner.trials[0].state.is_final


def binary(data, **named):
    x, y = data
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((13,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.AUC(**named)])
    return model, (x, (y == 0).astype("float32"))


def test_metric_that_keras_numbers_anew_is_to_be_named(data):
    keras.backend.clear_session()
    tuner = hpo.Tuner(SPACE, hpo.Maximize("val_auc"), max_trials=2, seed=0)
    with pytest.raises(hpo.MetricNotFound, match=r"'val_auc_1'.*give this one a name, .*AUC\(name='auc'\)"):
        for trial in tuner:
            model, parts = binary(data)
            fit(model, parts, TrialCallback(trial), epochs=1)
    assert [len(t.curve) for t in tuner.trials] == [1, 0]


def test_trial_that_resumes_with_a_metric_that_keras_numbers_anew_is_told_so(data):
    keras.backend.clear_session()
    strategy = hpo.Hyperband(min_resource=2, max_resource=99, reduction_factor=99, pause=True)
    tuner = hpo.Tuner(SPACE, hpo.Maximize("val_auc"), strategy=strategy, max_trials=1, seed=0)
    with pytest.raises(hpo.MetricNotFound, match=r"'val_auc_1'.*give this one a name"):
        for trial in tuner:
            model, parts = binary(data)
            fit(model, parts, TrialCallback(trial), epochs=4)
    keras.backend.clear_session()
    tuner = hpo.Tuner(SPACE, hpo.Maximize("val_auc"), strategy=strategy, max_trials=1, seed=0)
    for trial in tuner:
        model, parts = binary(data, name="auc")
        fit(model, parts, TrialCallback(trial), epochs=4)
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


class Batches(keras.utils.PyDataset):
    """Batches with noise from a generator of its own."""

    def __init__(self, data):
        super().__init__()
        self.x, self.y = data[0][:120], data[1][:120]
        self.rng = np.random.Generator(np.random.MT19937(7))

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(40 * index, 40 * index + 40)
        return self.x[rows] + self.rng.normal(0, 0.1, (40, 13)).astype("float32"), self.y[rows]


class Reordered(Batches):
    def on_epoch_end(self):
        order = self.rng.permutation(120)
        self.x, self.y = self.x[order], self.y[order]


class Telling(Batches):
    """Shifts its data from epoch to epoch, and tells its state."""

    epoch = 0

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.1 * self.epoch, y

    def on_epoch_end(self):
        self.epoch += 1

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


def batches_of(data):
    while True:
        yield data[0][:40], data[1][:40]


DATA = {
    "generator within": (Batches, True, None),
    "reordered": (Reordered, False, "What Reordered.on_epoch_end changes cannot be saved"),
    "telling": (Telling, True, None),
    "generator": (batches_of, False, "A generator or iterator as training data cannot be saved"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_with_a_state_is_restored_or_said(data, name, caplog):
    kind, is_restored, warning = DATA[name]

    def run(model, *callbacks):
        arguments = {"validation_data": (data[0][120:], data[1][120:]), "verbose": 0, "shuffle": False}
        steps = 3 if name == "generator" else None
        model.fit(kind(data), epochs=5, steps_per_epoch=steps, callbacks=list(callbacks), **arguments)
        return model

    expected = run(build(0))
    for trial in paused_at(2):
        model = run(build(trial.attempt - 1), TrialCallback(trial))
    assert trial.attempt == 2
    assert caplog.text.count("cannot be saved") == (warning is not None)
    assert (warning or "") in caplog.text
    if is_restored and IS_EXACT:
        assert_same(weights(model), weights(expected))


@pytest.mark.parametrize("pause", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_file_of_several_trials_is_said_once(data, tmp_path_factory, monkeypatch, shared, pause, caplog):
    monkeypatch.chdir(tmp_path_factory.mktemp("study"))
    folder = Path("models")
    strategy = hpo.Hyperband(max_resource=3, pause=pause)
    for trial in hpo.Tuner(SPACE, hpo.Minimize("val_loss"), strategy=strategy, max_trials=3, seed=0):
        place = folder if shared else folder / str(trial.number)
        saving = keras.callbacks.ModelCheckpoint(str(place / "best.keras"), save_best_only=True)
        fit(build(0, trial["lr"]), data, TrialCallback(trial), saving, epochs=3)
        assert ("Put trial.number into the path" in caplog.text) is (shared and pause)  # from the first start on
    text = f"ModelCheckpoint writes to {place / 'best.keras'} in trial 0"
    assert caplog.text.count(text) == caplog.text.count("Put trial.number into the path") == (shared and pause)


def test_best_of_model_checkpoint_and_log_of_epochs_are_those_of_the_whole_training(data, tmp_path, caplog):
    def run(folder, model, *callbacks):
        folder.mkdir(exist_ok=True)
        saving = keras.callbacks.ModelCheckpoint(
            str(folder / "best.weights.h5"), save_best_only=True, save_weights_only=True
        )
        logging = keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True)
        model.optimizer.learning_rate.assign(1.0)  # so that the best epoch is an early one
        fit(model, data, *callbacks, saving, logging, epochs=6)
        model.load_weights(folder / "best.weights.h5")
        return weights(model), (folder / "log.csv").read_text()

    expected, log = run(tmp_path / "whole", build(0))
    for trial in paused_at(3):
        found, resumed_log = run(tmp_path / "paused", build(trial.attempt - 1), TrialCallback(trial))
    if IS_EXACT:
        assert_same(found, expected)
        assert resumed_log == log
    assert "CSVLogger" not in caplog.text


def test_log_that_begins_anew_at_a_resume_is_said(data, tmp_path, caplog):
    for trial in paused_at(2):
        logging = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
        fit(build(0), data, TrialCallback(trial), logging, epochs=3)
    assert caplog.text.count("pass append=True") == 1
