"""Tune CatBoost on wines, with its defaults first, a conditional parameter and paused training runs.

pip install 'hpo-plugins[catboost]' scikit-learn
"""

from catboost import CatBoostClassifier
from hpo_plugins.integrations.catboost import TrialCallback, snapshot
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

ROUNDS = 27
FIXED = {"iterations": ROUNDS, "verbose": False, "thread_count": 1, "random_seed": 0}


def main() -> None:
    """Run 12 trials."""
    x, y = load_wine(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0, stratify=y)
    tuner = hpo.Tuner(
        {
            "learning_rate": hpo.Continuous(0.01, 1.0, scale="log"),
            "depth": hpo.Integer(2, 8),
            "l2_leaf_reg": hpo.Continuous(0.1, 30, scale="log"),
            "bootstrap_type": hpo.Categorical(["Bayesian", "Bernoulli"]),
            "subsample": hpo.Continuous(0.4, 1.0, when={"bootstrap_type": "Bernoulli"}),
        },
        hpo.Minimize("validation-MultiClass"),
        strategy=hpo.Hyperband(max_resource=ROUNDS, pause=True),
        points_to_evaluate=[{"depth": 6, "l2_leaf_reg": 3.0, "bootstrap_type": "Bayesian"}],  # CatBoost's defaults
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        model = CatBoostClassifier(**FIXED, **trial.params)
        model.fit(x_train, y_train, eval_set=(x_valid, y_valid), callbacks=[TrialCallback(trial)], **snapshot(trial))
    print(tuner.summary())


if __name__ == "__main__":
    main()
