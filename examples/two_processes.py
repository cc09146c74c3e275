"""Two processes share one search: start the same script twice with one storage.

python examples/two_processes.py [tuning.db]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

import hpo_plugins as hpo

EPOCHS = 27


def work(storage: str) -> None:
    """Train trials of the shared search until the search ends."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(axis=0), (y - y.mean()) / y.std()
    tuner = hpo.Tuner(
        {"lr": hpo.Continuous(1e-4, 1.0, scale="log"), "momentum": hpo.Continuous(0.0, 0.99)},
        hpo.Minimize("mse"),
        strategy=hpo.Hyperband(max_resource=EPOCHS),
        max_trials=40,
        storage=storage,
        seed=0,
    )
    mine = 0
    for trial in tuner:
        mine += 1
        weights = velocity = np.zeros(x.shape[1])
        for epoch in range(1, EPOCHS + 1):
            for _ in range(200):
                gradient = x[:300].T @ (x[:300] @ weights - y[:300]) / 300
                velocity = trial["momentum"] * velocity - trial["lr"] * gradient
                weights = weights + velocity
            if trial.report(epoch, {"mse": np.mean((x[300:] @ weights - y[300:]) ** 2)}):
                break
    print(f"This process trained {mine} of {len(tuner.trials)} trials.")


def main() -> None:
    """Start two workers, wait for them, and print the summary of their study."""
    if len(sys.argv) > 2:
        np.seterr(all="ignore")  # trials of configurations that diverge fail, and the search continues
        return work(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        storage = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder) / "tuning.db")
        workers = [subprocess.Popen([sys.executable, __file__, storage, "worker"]) for _ in range(2)]
        for worker in workers:
            worker.wait()
        print(hpo.Tuner.load(storage).summary())
    return None


if __name__ == "__main__":
    main()
