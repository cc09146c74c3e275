"""Four local processes share one search, which pauses training runs and resumes the best from their checkpoints.

Kill any of the processes, and start the script again: it resumes their training runs from the last checkpoints.
"""

import functools
import sys

import xgboost as xgb
from hpo_plugins.integrations.xgboost import TrialCallback
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

ROUNDS = 27
FIXED = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss"}


@functools.cache
def data() -> tuple[xgb.DMatrix, xgb.DMatrix]:
    """Return the data; each worker loads it once."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    return xgb.DMatrix(x_train, y_train), xgb.DMatrix(x_valid, y_valid)


def train(trial: hpo.Trial) -> None:
    """Train one trial: the body of the loop, as a function that other processes can import."""
    dtrain, dvalid = data()
    xgb.train(
        FIXED | trial.params,
        dtrain,
        num_boost_round=ROUNDS,  # the total number of rounds, also for resumed trials
        evals=[(dvalid, "validation")],
        verbose_eval=False,
        callbacks=[TrialCallback(trial)],
    )


def main() -> None:
    """Run 24 trials."""
    tuner = hpo.Tuner(
        {"eta": hpo.Continuous(1e-3, 0.5, scale="log"), "max_depth": hpo.Integer(2, 10)},
        hpo.Minimize("validation-mlogloss"),
        strategy=hpo.Hyperband(max_resource=ROUNDS, pause=True),
        max_trials=24,
        storage=sys.argv[1] if len(sys.argv) > 1 else "workers.db",
        seed=0,
    )
    tuner.run(train, workers=4)
    print(tuner.summary())
    print("Checkpoint of the best:", tuner.best_trial.checkpoint)


if __name__ == "__main__":
    main()
