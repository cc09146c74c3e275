"""Tune a small Keras network on handwritten digits with Hyperband, which pauses and resumes training runs.

pip install 'hpo-plugins[keras]' torch scikit-learn      (or another backend of Keras)
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from hpo_plugins.integrations.keras import TrialCallback
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

EPOCHS = 9


def build(units: int, dropout: float, learning_rate: float, activation: str) -> keras.Model:
    """Return a compiled network."""
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(units, activation=activation),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Run 12 trials."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x / 16, y, random_state=0, stratify=y)
    tuner = hpo.Tuner(
        {
            "units": hpo.Integer(8, 128, scale="log"),
            "dropout": hpo.Continuous(0.0, 0.5),
            "learning_rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
            "activation": hpo.Categorical(["relu", "tanh"]),
        },
        hpo.Maximize("val_accuracy"),
        strategy=hpo.Hyperband(max_resource=EPOCHS, pause=True),
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        keras.utils.set_random_seed(trial.number)
        build(**trial.params).fit(
            x_train,
            y_train,
            validation_data=(x_valid, y_valid),
            epochs=EPOCHS,
            batch_size=64,
            verbose=0,
            callbacks=[TrialCallback(trial)],
        )
    print(tuner.summary())


if __name__ == "__main__":
    main()
