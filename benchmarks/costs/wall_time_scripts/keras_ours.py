import keras
from hpo_plugins.integrations.keras import TrialCallback
from watch import digits, note, training

import hpo_plugins as hpo

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


space = {
    "units": hpo.Integer(8, 128, scale="log"),
    "dropout": hpo.Continuous(0.0, 0.5),
    "rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
    "activation": hpo.Categorical(["relu", "tanh"]),
}
tuner = hpo.Tuner(space, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=27), seed=0, progress="off")
for trial in tuner:
    callbacks = [Note(), TrialCallback(trial)]
    with training():
        build(**trial.params).fit(x, y, 64, 27, validation_data=valid, verbose=0, callbacks=callbacks)
