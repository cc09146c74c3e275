"""Tune your own loop without a framework: logistic regression by gradient descent in numpy."""

import numpy as np
from sklearn.datasets import load_breast_cancer

import hpo_plugins as hpo

EPOCHS = 81


def main() -> None:
    """Run 30 trials."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    order = np.random.default_rng(0).permutation(len(x))
    train, valid = order[:400], order[400:]
    tuner = hpo.Tuner(
        {"lr": hpo.Continuous(1e-3, 10.0, scale="log"), "l2": hpo.Continuous(1e-6, 1.0, scale="log")},
        hpo.Minimize("log_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS),
        max_trials=30,
        seed=0,
    )
    for trial in tuner:
        weights = np.zeros(x.shape[1])
        for epoch in range(1, EPOCHS + 1):
            error = 1 / (1 + np.exp(-x[train] @ weights)) - y[train]
            weights -= trial["lr"] * (x[train].T @ error / len(train) + trial["l2"] * weights)
            margin = x[valid] @ weights * (2 * y[valid] - 1)
            metrics = {"log_loss": np.logaddexp(0, -margin).mean(), "accuracy": (margin > 0).mean()}
            if trial.report(epoch, metrics):  # stores the report; True means: stop now
                break
    print(tuner.summary())


if __name__ == "__main__":
    main()
