"""Train a network on handwritten digits in a loop of JAX and Flax.

pip install flax scikit-learn
"""

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

EPOCHS = 9


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
    """Train once."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    rng = np.random.default_rng(0)
    model = Network(32, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(1e-3, weight_decay=1e-2), wrt=nnx.Param)
    for epoch in range(1, EPOCHS + 1):
        for batch in np.split(rng.permutation(1200), 10):
            train_step(model, optimizer, x[batch], y[batch])
        loss = valid_loss(model, x[1200:], y[1200:]).item()
        print(epoch, loss)


if __name__ == "__main__":
    main()
