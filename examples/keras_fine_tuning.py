"""Tune an image classifier in two phases: train a new head on a frozen network, then fine-tune the whole network.

The two calls of ``fit`` are one trial, whose epochs count on. If the first phase stops or pauses the trial, the second
phase trains nothing. A resumed trial continues in the phase that was interrupted.

pip install 'hpo-plugins[keras]' torch scikit-learn      (or another backend of Keras)
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from hpo_plugins.integrations.keras import TrialCallback
from sklearn.datasets import load_digits

import hpo_plugins as hpo

HEAD_EPOCHS, ALL_EPOCHS = 3, 9


def convolutions() -> keras.Model:
    """Return the part of the network that is transferred: images to features."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
        ]
    )


def pretrain(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return weights to transfer, trained on the digits 0 to 4."""
    keras.utils.set_random_seed(0)
    body = convolutions()
    model = keras.Sequential([body, keras.layers.Dense(5, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=5, verbose=0)
    return body.get_weights()


def compile_model(model: keras.Model, learning_rate: float) -> None:
    """Compile a model; Keras requires this after layers were frozen or unfrozen."""
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


def main() -> None:
    """Transfer the network from the digits 0 to 4 to a few images of the digits 5 to 9."""
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1) / 16
    pretrained = pretrain(x[y < 5], y[y < 5])
    x, y = x[y >= 5], y[y >= 5] - 5
    data = {"x": x[:150], "y": y[:150], "validation_data": (x[150:], y[150:]), "batch_size": 16, "verbose": 0}

    tuner = hpo.Tuner(
        {
            "head_rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
            "fine_rate": hpo.Continuous(1e-5, 1e-2, scale="log"),
            "dropout": hpo.Continuous(0.0, 0.5),
        },
        hpo.Maximize("val_accuracy"),
        strategy=hpo.Hyperband(max_resource=ALL_EPOCHS, pause=True),
        points_to_evaluate=[{"head_rate": 1e-3, "fine_rate": 1e-4, "dropout": 0.2}],
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        keras.utils.set_random_seed(0)
        body = convolutions()
        body.set_weights(pretrained)
        head = [keras.layers.Dropout(trial["dropout"]), keras.layers.Dense(5, activation="softmax")]
        model = keras.Sequential([body, *head])

        body.trainable = False
        compile_model(model, trial["head_rate"])
        model.fit(**data, epochs=HEAD_EPOCHS, callbacks=[TrialCallback(trial)])

        body.trainable = True
        compile_model(model, trial["fine_rate"])
        model.fit(**data, initial_epoch=HEAD_EPOCHS, epochs=ALL_EPOCHS, callbacks=[TrialCallback(trial)])
    print(tuner.summary())


if __name__ == "__main__":
    main()
