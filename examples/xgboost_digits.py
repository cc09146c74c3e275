"""Tune XGBoost on handwritten digits with Hyperband: 60 configurations for the cost of a few full training runs.

    pip install 'hpo-plugins[examples]'
    python examples/xgboost_digits.py [tuning.db]

Interrupt the script with Ctrl-C and run it again: it continues the search. After the end of the search, it prints the
result again.
"""

import sys

import xgboost as xgb
from hpo_plugins.integrations.xgboost import TrialCallback
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

ROUNDS = 81
FIXED = {"objective": "multi:softprob", "num_class": 10, "eval_metric": ["mlogloss", "merror"], "nthread": 1, "seed": 0}
SPACE = {
    "eta": hpo.Continuous(1e-3, 0.5, scale="log"),
    "max_depth": hpo.Integer(2, 10),
    "min_child_weight": hpo.Continuous(0.1, 10.0, scale="log"),
    "subsample": hpo.Continuous(0.5, 1.0),
    "colsample_bytree": hpo.Continuous(0.3, 1.0),
    "grow_policy": hpo.Categorical(["depthwise", "lossguide"]),
}


def main() -> None:
    """Run the search, or continue it."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    dtrain, dvalid = xgb.DMatrix(x_train, y_train), xgb.DMatrix(x_valid, y_valid)

    tuner = hpo.Tuner(
        SPACE,
        hpo.Minimize("validation-mlogloss"),
        strategy=hpo.Hyperband(max_resource=ROUNDS),
        max_trials=60,
        storage=sys.argv[1] if len(sys.argv) > 1 else "tuning.db",
        name="digits",
        seed=0,
    )
    print(tuner.strategy.describe())
    if tuner.done:
        print("This study is complete: nothing is left to train.")
    for trial in tuner:
        xgb.train(
            FIXED | trial.params,
            dtrain,
            num_boost_round=ROUNDS,
            evals=[(dvalid, "validation")],
            verbose_eval=False,
            callbacks=[TrialCallback(trial)],  # the only added line
        )
    print(tuner.summary())


if __name__ == "__main__":
    main()
