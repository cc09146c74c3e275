import keras
import optuna
from optuna_integration import KerasPruningCallback
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


def objective(trial):
    params = {
        "units": trial.suggest_int("units", 8, 128, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        "activation": trial.suggest_categorical("activation", ["relu", "tanh"]),
    }
    callbacks = [Note(), KerasPruningCallback(trial, "val_loss")]
    with training():
        history = build(**params).fit(x, y, 64, 27, validation_data=valid, verbose=0, callbacks=callbacks)
    return min(history.history["val_loss"])


optuna.logging.set_verbosity(optuna.logging.WARNING)
pruner = optuna.pruners.HyperbandPruner(max_resource=27)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
study.optimize(objective)
