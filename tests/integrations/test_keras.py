import os

import numpy as np
import pytest
from sklearn.datasets import load_digits

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from hpo_plugins.integrations.keras import TrialCallback  # noqa: E402
from support import save_always  # noqa: E402

import hpo_plugins as hpo  # noqa: E402

# Keras reads torch tensors in a way that numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SPACE = {"lr": hpo.Categorical([0.1, 1e-6])}


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    return (x[:200] / 16).astype("float32"), y[:200], (x[200:300] / 16).astype("float32"), y[200:300]


class Spy(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.ended = [], False

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)

    def on_train_end(self, logs=None):
        self.ended = True


def build(lr=0.1):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(trial, data, epochs=5, after=(), validate=True, model=None, **arguments):
    x, y, xv, yv = data
    model = model or build(trial["lr"])
    if validate:
        arguments.setdefault("validation_data", (xv, yv))
    history = model.fit(
        x, y, epochs=epochs, batch_size=50, verbose=0, callbacks=[TrialCallback(trial), *after], **arguments
    )
    return model, history


def tuner_for(metric="val_loss", strategy=None):
    return hpo.Tuner(SPACE, hpo.Minimize(metric), strategy=strategy or hpo.Grid(), seed=0)


def test_every_epoch_is_recorded_with_all_metrics(data):
    tuner = tuner_for()
    for trial in tuner:
        _, history = fit(trial, data)
        record = tuner.trials[trial.number]
        assert list(record.curve) == [1, 2, 3, 4, 5]
        assert list(record.curve.values()) == history.history["val_loss"]
        assert set(record.metrics[1]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert tuner.best_trial.params == {"lr": 0.1}


def test_stop_ends_the_training_as_keras_does(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=3))
    trial, spy = tuner.ask(), Spy()
    model, history = fit(trial, data, epochs=9, after=[spy])
    trial.end()
    assert (spy.epochs, spy.ended) == ([0, 1, 2], True)
    assert len(history.history["loss"]) == 3
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    model.fit(*data[:2], epochs=2, verbose=0)  # the flag does not stick
    assert len(model.history.epoch) == 2


def test_initial_epoch_counts_on(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=9))
    trial = tuner.ask()
    model, _ = fit(trial, data, epochs=3)
    fit(trial, data, epochs=5, initial_epoch=3, model=model)
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4, 5]


def test_fit_of_another_model_is_an_error_that_says_which_of_two_is_wanted(data):
    tuner = tuner_for()
    for trial in tuner:
        fit(trial, data, epochs=2)
        with pytest.raises(hpo.InvalidReport, match=r"trial.folds\(n\).*second phase"):
            fit(trial, data, epochs=2)
        break
    assert tuner.trials[0].state is hpo.TrialState.FAILED


@pytest.mark.parametrize("frequency", [2, [2, 4]])
def test_epochs_without_validation_are_recorded_only(frequency, data):
    tuner = tuner_for()
    trial = tuner.ask()
    fit(trial, data, epochs=4, validation_freq=frequency)
    trial.end()
    (record,) = tuner.trials
    assert list(record.curve) == [2, 4]
    assert list(record.metrics) == [1, 2, 3, 4]
    assert set(record.metrics[3]) == {"loss", "accuracy"}
    assert record.state is hpo.TrialState.COMPLETED


def test_validation_split_counts_as_validation(data):
    tuner = tuner_for()
    fit(tuner.ask(), data, epochs=4, validate=False, validation_split=0.2, validation_freq=2)
    assert list(tuner.trials[0].curve) == [2, 4]


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        ("val_los", {}, "Reported: 'accuracy', 'loss', 'val_accuracy', 'val_loss'. Did you mean 'val_loss'?"),
        ("val_loss", {"validate": False}, "Reported: 'accuracy', 'loss'. If Spy adds it, put it before TrialCallback."),
        ("val_los", {"validation_freq": 2}, "Did you mean 'val_loss'?"),
    ],
)
def test_missing_metric_is_named(metric, arguments, message, data):
    spy = Spy()
    with pytest.raises(hpo.MetricNotFound) as caught:
        for trial in tuner_for(metric):
            fit(trial, data, after=[spy], **arguments)
    assert f"The objective's metric {metric!r} was not reported after the first epoch." in str(caught.value)
    assert message in str(caught.value)
    assert spy.epochs == ([0] if "validation_freq" in arguments else [])  # at the first epoch that could have it


def test_separate_evaluate_does_not_count(data):
    tuner = tuner_for()
    trial = tuner.ask()
    model, _ = fit(trial, data, epochs=2)
    model.evaluate(*data[2:], verbose=0, callbacks=[TrialCallback(trial)])
    assert list(tuner.trials[0].curve) == [1, 2]


def test_diverged_training_fails_the_trial(data):
    tuner = tuner_for("loss")
    trial = tuner.ask()
    x, y = data[0] * np.float32(np.nan), data[1]
    _, history = fit(trial, (x, y, None, None), validate=False)
    trial.end()
    assert len(history.history["loss"]) == 1
    assert tuner.trials[0].error == "loss was nan at epoch 1"


def test_weights_are_the_same_as_without_the_callback(data):
    plain = build()
    plain.fit(*data[:2], epochs=3, batch_size=50, verbose=0)
    tuned, _ = fit(tuner_for("loss").ask(), data, epochs=3, validate=False, model=build())
    for one, other in zip(plain.weights, tuned.weights, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


# Pause and resume.


def pausing(at=3, total=99, **arguments):
    """A tuner whose one trial is paused after ``at`` epochs."""
    strategy = hpo.Hyperband(min_resource=at, max_resource=total, reduction_factor=99, pause=True)
    arguments = {"max_trials": 1, "seed": 0} | arguments
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("val_loss"), strategy=strategy, **arguments)


def build_deep(seed, units=16):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((64,)),
            layers.Dense(units, activation="relu"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit_deep(model, data, *callbacks, epochs=9):
    x, y, xv, yv = data
    shuffle = keras.backend.backend() != "tensorflow"  # tf.data cannot save the state of its shuffling
    return model.fit(
        x, y, validation_data=(xv, yv), epochs=epochs, batch_size=32, verbose=0, callbacks=list(callbacks),
        shuffle=shuffle,
    )  # fmt: skip


def counting():
    return [
        keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5),
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
    ]


def same_weights(one, other):
    return all(
        np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        for a, b in zip(one.weights, other.weights, strict=True)
    )


@pytest.mark.parametrize("place", [0, 2], ids=["before the others", "after the others"])
@pytest.mark.parametrize("at", [1, 4])
def test_resumed_training_is_bit_identical(at, place, data):
    """Dropout, batch normalisation, Adam, shuffling, and callbacks that count; resumed under another seed."""
    expected = build_deep(0)
    history = fit_deep(expected, data, *counting())
    tuner, starts = pausing(at), []
    for trial in tuner:
        starts.append(trial.start_epoch)
        callbacks = counting()
        callbacks.insert(place, TrialCallback(trial))
        model = build_deep(len(starts) - 1)
        resumed = fit_deep(model, data, *callbacks)
    assert starts == [0, at]
    assert same_weights(model, expected)
    assert (resumed.epoch, resumed.history) == (history.epoch, history.history)
    fit_deep(model, data, epochs=2)
    assert model.history.epoch == [0, 1]  # the next fit starts where it says


def test_killed_training_resumes_from_its_checkpoint(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    expected = build_deep(0)
    fit_deep(expected, data)

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if len(tuner.trials[0].curve) == 5:
                raise KeyboardInterrupt

    tuner = pausing(storage=tmp_path / "a.db", at=99)
    with pytest.raises(KeyboardInterrupt):
        for trial in tuner:
            fit_deep(build_deep(0), data, TrialCallback(trial), Interrupt())
    tuner = pausing(storage=tmp_path / "a.db", at=99)
    for trial in tuner:
        assert trial.start_epoch == 5
        model = build_deep(1)
        fit_deep(model, data, TrialCallback(trial))
    assert same_weights(model, expected)


def test_unusable_checkpoint_is_an_error_and_keeps_the_trial(data, tmp_path):
    tuner = pausing(storage=tmp_path / "a.db")
    trial = tuner.ask()
    fit_deep(build_deep(0), data, TrialCallback(trial))
    trial.end()
    with pytest.raises(hpo.CheckpointError, match=r"is of another model: its model has .* tuner.restart\(0\)"):
        for trial in tuner:
            fit_deep(build_deep(0, units=8), data, TrialCallback(trial))
    assert tuner.trials[0].state is hpo.TrialState.RUNNING
    path = next(tmp_path.rglob("epoch-*"))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(hpo.CheckpointError, match="is damaged or not written by Keras"):
        for trial in tuner:
            fit_deep(build_deep(0), data, TrialCallback(trial))
