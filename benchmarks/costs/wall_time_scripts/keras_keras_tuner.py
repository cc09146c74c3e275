import tempfile

import keras
import keras_tuner as kt
from watch import digits, note, training

(x, y), valid = digits()


def build(units, dropout, rate, activation):
    layers = keras.layers
    model = keras.Sequential([layers.Input((64,)), layers.Dense(units, activation=activation), layers.Dropout(dropout)])
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


class Note(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        note(loss=logs["val_loss"])


def choose(hp):
    return build(
        hp.Int("units", 8, 128, sampling="log"),
        hp.Float("dropout", 0.0, 0.5),
        hp.Float("rate", 1e-4, 1e-1, sampling="log"),
        hp.Choice("activation", ["relu", "tanh"]),
    )


class Watched(kt.Hyperband):  # only to measure it
    def run_trial(self, *arguments, **named):
        with training():
            return super().run_trial(*arguments, **named)


objective = kt.Objective("val_loss", "min")
tuner = Watched(choose, objective, 27, hyperband_iterations=1000, seed=0, directory=tempfile.mkdtemp())
tuner.search(x, y, batch_size=64, validation_data=valid, verbose=0, callbacks=[Note()])
