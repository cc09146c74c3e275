"""Layers of small networks in numpy: with a few thousand parameters a step costs a fraction of a framework's.

    n   rows of a batch          a, b   inputs and outputs of a layer
    T   steps of a sequence      H      hidden units of a GRU

All parameters of a network lie in one flat float32 array, and so do their gradients. In training, a layer puts its part
of the backward pass on a tape, which ``backward`` plays in reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Value:
    """An array with the gradient of the loss by it."""

    def __init__(self, data: Array) -> None:
        """Wrap it."""
        self.data = data
        self.gradient: Any = None

    def add(self, gradient: Array) -> None:
        """Add to the gradient."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


class Network:
    """Parameters, the tape, and two optimisers."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Begin with no parameters."""
        self.rng = rng
        self.is_training = False
        self._parameters: list[Value] = []
        self._tape: list[Callable[[], None]] = []
        self._step = 0

    def parameter(self, deviation: float, *shape: int) -> Value:
        """Return normal random weights, or zeros for a deviation of 0."""
        made = Value(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation))
        self._parameters.append(made)
        return made

    def pack(self) -> None:
        """Move all parameters into one array; call it once they are made."""
        self.weights = np.concatenate([value.data.ravel() for value in self._parameters])
        self.gradients = np.zeros_like(self.weights)
        start = 0
        for value in self._parameters:
            end, shape = start + value.data.size, value.data.shape
            value.data, value.gradient = (
                self.weights[start:end].reshape(shape),
                self.gradients[start:end].reshape(shape),
            )
            start = end
        self._first, self._second = np.zeros_like(self.weights), np.zeros_like(self.weights)

    def backward(self) -> None:
        """Compute all gradients."""
        for step in reversed(self._tape):
            step()
        self._tape = []

    def sgd(self, rate: float, momentum: float, decay: float) -> None:
        """Take a step of stochastic gradient descent with momentum and L2 decay."""
        self._first *= momentum
        self._first += self.gradients
        self._first += np.float32(decay) * self.weights
        self.weights -= np.float32(rate) * self._first
        self.gradients[:] = 0

    def adamw(self, rate: float, beta1: float, decay: float, beta2: float = 0.99) -> None:
        """Take a step of AdamW."""
        self._step += 1
        self._first *= beta1
        self._first += np.float32(1 - beta1) * self.gradients
        self._second *= beta2
        self._second += np.float32(1 - beta2) * (self.gradients * self.gradients)
        self.weights *= np.float32(1 - rate * decay)
        unbiased = np.sqrt(self._second * np.float32(1 / (1 - beta2**self._step)))
        self.weights -= np.float32(rate / (1 - beta1**self._step)) * self._first / (unbiased + np.float32(1e-8))
        self.gradients[:] = 0

    def linear(self, x: Value, weights: Value, bias: Value, *, inner: bool = True) -> Value:
        """Return ``x W + b``, shape ``(..., b)``; ``inner``: the gradient by ``x`` is needed."""
        y = Value(x.data @ weights.data + bias.data)

        def back() -> None:
            gradient = y.gradient.reshape(-1, y.gradient.shape[-1])
            weights.gradient += x.data.reshape(-1, x.data.shape[-1]).T @ gradient
            bias.gradient += gradient.sum(0)
            if inner:
                x.add(y.gradient @ weights.data.T)

        return self._taped(y, back)

    def relu(self, x: Value) -> Value:
        """Return ``max(x, 0)``."""
        y = Value(np.maximum(x.data, 0))
        return self._taped(y, lambda: x.add(y.gradient * (y.data > 0)))

    def dropout(self, x: Value, probability: float) -> Value:
        """Return ``x`` with entries set to 0 in training."""
        if not self.is_training or probability <= 0:
            return x
        kept = self.rng.random(x.data.shape, dtype=np.float32) >= probability
        mask = kept * np.float32(1 / (1 - probability))
        y = Value(x.data * mask)
        return self._taped(y, lambda: x.add(y.gradient * mask))

    def embedding(self, codes: NDArray[Any], table: Value) -> Value:
        """Return the table's rows, shape ``(n, T, b)``."""
        y = Value(table.data[codes])

        def back() -> None:
            one_hot = np.zeros((codes.size, len(table.data)), np.float32)
            one_hot[np.arange(codes.size), codes.ravel()] = 1
            table.gradient += one_hot.T @ y.gradient.reshape(codes.size, -1)

        return self._taped(y, back)

    def gru(self, x: Value, inputs: Value, hidden: Value, bias: Value) -> Value:
        """Return the states of a GRU, shape ``(n, T, H)``.

        Args:
            x: Shape ``(n, T, a)``.
            inputs: Shape ``(a, 3 H)``: reset, update, candidate.
            hidden: Shape ``(H, 3 H)``; the reset gate comes after this product.
            bias: Shape ``(3 H,)``.
        """
        n, steps, _ = x.data.shape
        size = len(hidden.data)
        wide = 3 * size
        projected = (x.data.reshape(-1, x.data.shape[2]) @ inputs.data + bias.data).reshape(n, steps, wide)
        projected = projected.transpose(1, 0, 2)
        state, states, kept = np.zeros((n, size), np.float32), np.empty((steps, n, size), np.float32), []
        for t in range(steps):
            recurrent = state @ hidden.data
            gates = 1 / (1 + np.exp(-(projected[t, :, : 2 * size] + recurrent[:, : 2 * size])))
            candidate = np.tanh(projected[t, :, 2 * size :] + gates[:, :size] * recurrent[:, 2 * size :])
            kept.append((state, gates, candidate, recurrent[:, 2 * size :]))
            state = candidate + gates[:, size:] * (state - candidate)
            states[t] = state
        y = Value(np.ascontiguousarray(states.transpose(1, 0, 2)))

        def back() -> None:
            outer = y.gradient.transpose(1, 0, 2)
            by_input, by_hidden = (np.empty((steps, n, wide), np.float32) for _ in range(2))
            by_state = np.zeros((n, size), np.float32)
            for t in range(steps - 1, -1, -1):
                before, gates, candidate, recurrent = kept[t]
                reset, update = gates[:, :size], gates[:, size:]
                by_state = by_state + outer[t]
                by_candidate = by_state * (1 - update) * (1 - candidate * candidate)
                by_input[t, :, 2 * size :] = by_candidate
                by_input[t, :, :size] = by_candidate * recurrent
                by_input[t, :, size : 2 * size] = by_state * (before - candidate)
                by_input[t, :, : 2 * size] *= gates * (1 - gates)
                by_hidden[t] = by_input[t]
                by_hidden[t, :, 2 * size :] = by_candidate * reset
                by_state = by_state * update + by_hidden[t] @ hidden.data.T
            befores = np.concatenate([each[0] for each in kept])
            hidden.gradient += befores.T @ by_hidden.reshape(-1, wide)
            flat = by_input.transpose(1, 0, 2).reshape(-1, wide)
            inputs.gradient += x.data.reshape(-1, x.data.shape[2]).T @ flat
            bias.gradient += flat.sum(0)
            x.add((flat @ inputs.data.T).reshape(x.data.shape))

        return self._taped(y, back)

    def cross_entropy(self, x: Value, classes: NDArray[Any]) -> float:
        """Return the mean over all rows, in nats; in training, the backward pass begins here."""
        scores, targets = x.data.reshape(-1, x.data.shape[-1]), classes.ravel()
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        rows = np.arange(len(targets))
        if self.is_training:
            gradient = probabilities.copy()
            gradient[rows, targets] -= 1
            x.gradient = (gradient / np.float32(len(targets))).reshape(x.data.shape)
        return float(-np.log(np.maximum(probabilities[rows, targets], np.float32(1e-30))).mean())

    def _taped(self, made: Value, back: Callable[[], None]) -> Value:
        if self.is_training:
            self._tape.append(back)
        return made
