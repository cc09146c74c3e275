"""Tune a network on handwritten digits in a loop of JAX and Flax.

pip install hpo-plugins flax scikit-learn
"""

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import hpo_plugins as hpo

EPOCHS = 9
ADAMW = optax.inject_hyperparams(optax.adamw)(0.0, weight_decay=0.0)  # one for all trials: JAX compiles it once


class Network(nnx.Module):
    """A network of two layers."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        """Build the layers."""
        self.hidden = nnx.Linear(64, width, rngs=rngs)
        self.out = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the scores of the ten digits."""
        return self.out(nnx.relu(self.hidden(x)))


def mean_loss(model: Network, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean loss of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


@nnx.jit
def train_step(model: Network, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> None:
    """Update the model with one batch."""
    optimizer.update(model, nnx.grad(mean_loss)(model, x, y))


valid_loss = nnx.jit(mean_loss)


def main() -> None:
    """Run 12 trials."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    tuner = hpo.Tuner(
        {
            "width": hpo.Ordinal([32, 64]),  # JAX compiles once for each width
            "rate": hpo.Continuous(1e-4, 1e-1, scale="log"),
            "decay": hpo.Continuous(1e-4, 1e-1, scale="log"),
        },
        hpo.Minimize("val_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS),
        points_to_evaluate=[{"width": 32, "rate": 1e-3, "decay": 1e-2}],
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        rng = np.random.default_rng(0)
        model = Network(trial["width"], nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, ADAMW, wrt=nnx.Param)
        optimizer.opt_state.hyperparams["learning_rate"][...] = trial["rate"]
        optimizer.opt_state.hyperparams["weight_decay"][...] = trial["decay"]
        for epoch in range(1, EPOCHS + 1):
            for batch in np.split(rng.permutation(1200), 10):
                train_step(model, optimizer, x[batch], y[batch])
            loss = valid_loss(model, x[1200:], y[1200:]).item()
            if trial.report(epoch, {"val_loss": loss}):
                break
    print(tuner.summary())


if __name__ == "__main__":
    main()
