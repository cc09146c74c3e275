"""Tune a Keras network by cross-validation: a trial's value is the mean over its folds.

The strategy stops bad configurations within the first fold. Then it compares the same folds of all trials.

pip install 'hpo-plugins[keras]' torch scikit-learn      (or another backend of Keras)
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from hpo_plugins.integrations.keras import TrialCallback
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import hpo_plugins as hpo

EPOCHS = 9
FOLDS = 3


def build(units: int, dropout: float, learning_rate: float) -> keras.Model:
    """Return a compiled network."""
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "binary_crossentropy")
    return model


def main() -> None:
    """Run 12 trials of up to three folds each."""
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y))
    tuner = hpo.Tuner(
        {
            "units": hpo.Integer(4, 64, scale="log"),
            "dropout": hpo.Continuous(0.0, 0.5),
            "learning_rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
        },
        hpo.Minimize("val_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS),
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        for fold, (train, valid) in zip(trial.folds(FOLDS), splits, strict=False):  # a stopped trial trains fewer folds
            keras.utils.set_random_seed(fold.number)
            build(**trial.params).fit(
                x[train],
                y[train],
                validation_data=(x[valid], y[valid]),
                epochs=EPOCHS,
                batch_size=64,
                verbose=0,
                callbacks=[TrialCallback(fold)],
            )
    print(tuner.summary())
    best = tuner.best_trial
    print("Each fold of the best trial:", [round(min(curve.values()), 4) for curve in best.folds])


if __name__ == "__main__":
    main()
