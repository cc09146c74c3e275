"""Tune LightGBM on handwritten digits, with its defaults first, a conditional parameter and paused training runs.

pip install 'hpo-plugins[lightgbm]' scikit-learn
"""

import lightgbm
from hpo_plugins.integrations.lightgbm import TrialCallback
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

ROUNDS = 27
FIXED = {"objective": "multiclass", "num_class": 10, "num_threads": 1, "verbosity": -1}


def main() -> None:
    """Run 12 trials."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0, stratify=y)
    tuner = hpo.Tuner(
        {
            "learning_rate": hpo.Continuous(0.01, 1.0, scale="log"),
            "num_leaves": hpo.Integer(4, 64, scale="log"),
            "min_child_samples": hpo.Integer(2, 50, scale="log"),
            "data_sample_strategy": hpo.Categorical(["bagging", "goss"]),
            "top_rate": hpo.Continuous(0.1, 0.5, when={"data_sample_strategy": "goss"}),
        },
        hpo.Minimize("validation-multi_logloss"),
        strategy=hpo.Hyperband(max_resource=ROUNDS, pause=True),
        points_to_evaluate=[{"learning_rate": 0.1, "num_leaves": 31, "min_child_samples": 20}],  # LightGBM's defaults
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        data = lightgbm.Dataset(x_train, y_train)
        lightgbm.train(
            FIXED | trial.params,
            data,
            ROUNDS,
            valid_sets=[lightgbm.Dataset(x_valid, y_valid, reference=data)],
            valid_names=["validation"],
            callbacks=[TrialCallback(trial)],
            init_model=trial.resume_from,
        )
    print(tuner.summary())


if __name__ == "__main__":
    main()
