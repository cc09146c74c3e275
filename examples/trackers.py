"""Watch a search in TensorBoard, and run your own callback after each trial.

    python examples/trackers.py && tensorboard --logdir runs

Use ``MLflowCallback("diabetes")`` and ``WandbCallback(project="diabetes")`` in the same way.
"""

import numpy as np
from hpo_plugins.integrations.tensorboard import TensorBoardCallback
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo

ROUNDS = 81


class TellOfRecords(hpo.TunerCallback):
    """Print each new best trial; you could send a message to a chat instead."""

    def on_trial_end(self, tuner: hpo.Tuner, trial: hpo.TrialRecord) -> None:
        """Print the trial if it is the best so far."""
        if trial.number == tuner.best_trial.number:
            print(f"trial {trial.number} is the best so far: {trial.value:.2f}")


def main() -> None:
    """Run 20 trials."""
    x, y = load_diabetes(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0)
    tuner = hpo.Tuner(
        {
            "learning_rate": hpo.Continuous(1e-3, 0.5, scale="log"),
            "max_depth": hpo.Integer(1, 6),
            "loss": hpo.Categorical(["squared_error", "huber"]),
        },
        hpo.Minimize("rmse"),
        strategy=hpo.Hyperband(max_resource=ROUNDS),
        max_trials=20,
        seed=0,
        callbacks=[TensorBoardCallback("runs"), TellOfRecords()],
    )
    for trial in tuner:
        model = GradientBoostingRegressor(**trial.params, n_estimators=1, warm_start=True, random_state=0)
        for epoch in range(1, ROUNDS + 1):
            model.n_estimators = epoch
            model.fit(x_train, y_train)
            error = model.predict(x_valid) - y_valid
            if trial.report(epoch, {"rmse": np.sqrt(np.mean(error**2)), "mae": np.abs(error).mean()}):
                break
    print(tuner.summary())


if __name__ == "__main__":
    main()
