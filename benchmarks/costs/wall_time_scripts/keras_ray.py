import keras
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from watch import digits, note, training


def build(units, dropout, rate, activation):
    layers = keras.layers
    model = keras.Sequential([layers.Input((64,)), layers.Dense(units, activation=activation), layers.Dropout(dropout)])
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


class Note(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        note(loss=logs["val_loss"])


class Report(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        tune.report({"loss": logs["val_loss"]})


def run(params):
    (x, y), valid = digits()
    callbacks = [Note(), Report()]
    with training():
        build(**params).fit(x, y, 64, 27, validation_data=valid, verbose=0, callbacks=callbacks)


space = {
    "units": tune.lograndint(8, 129),
    "dropout": tune.uniform(0.0, 0.5),
    "rate": tune.loguniform(1e-4, 1e-1),
    "activation": tune.choice(["relu", "tanh"]),
}
config = tune.TuneConfig(
    metric="loss", mode="min", num_samples=-1, scheduler=ASHAScheduler(max_t=27), max_concurrent_trials=1
)
tune.Tuner(run, param_space=space, tune_config=config, run_config=tune.RunConfig(verbose=0)).fit()
