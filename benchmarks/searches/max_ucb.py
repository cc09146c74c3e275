"""How much the division of trials among definitions gains over equal shares, and with which alpha.

    python -m benchmarks max-ucb

Problems are random: 2 to 5 definitions, whose random searches find ``floor + scale * U ** (1 / d)``. The figure is the
mean distance of the best of T trials from the best floor. "best one" spends all trials on the definition that is
best on average, which is not known in advance.
"""

from __future__ import annotations

import argparse

import numpy as np

from hpo_plugins.strategies import max_ucb

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PROBLEMS, SEEDS = 150, 4


def problem(rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Return floor, scale and effective dimension of each definition."""
    return [(rng.uniform(0, 0.5), rng.lognormal(-0.5, 0.7), rng.uniform(1, 3)) for _ in range(rng.integers(2, 6))]


def draw(definition: tuple[float, float, float], rng: np.random.Generator) -> float:
    """Return the loss of one trial."""
    floor, scale, dimension = definition
    return float(floor + scale * rng.random() ** (1 / dimension))


def divided(
    definitions: list[tuple[float, float, float]], trials: int, alpha: float, rng: np.random.Generator
) -> float:
    """Return the best loss when trials go where the upper bound is largest."""
    max_ucb.ALPHA = alpha
    losses: dict[str, list[float]] = {str(k): [] for k in range(len(definitions))}
    for _ in range(trials):
        bounds = max_ucb.upper_bounds(losses, {name: len(found) for name, found in losses.items()})
        name = max(bounds, key=lambda key: bounds[key])
        losses[name].append(draw(definitions[int(name)], rng))
    return min(min(found) for found in losses.values() if found)


def shared(definitions: list[tuple[float, float, float]], trials: int, rng: np.random.Generator) -> float:
    """Return the best loss when every definition gets as many trials."""
    return min(draw(definitions[number % len(definitions)], rng) for number in range(trials))


def alone(definitions: list[tuple[float, float, float]], trials: int, rng: np.random.Generator) -> float:
    """Return the best loss of the definition whose best of so many trials is best on average."""
    means = [np.mean([min(draw(d, rng) for _ in range(trials)) for _ in range(20)]) for d in definitions]
    return min(draw(definitions[int(np.argmin(means))], rng) for _ in range(trials))


def main() -> None:
    """Print a line for each number of trials."""
    argparse.ArgumentParser().parse_args()
    print(f"{'trials':>6} {'equal':>7} {'best one':>9}" + "".join(f" {f'alpha={a}':>10}" for a in ALPHAS))
    for trials in (20, 50, 100):
        figures: list[list[float]] = []
        for seed in range(PROBLEMS * SEEDS):
            definitions = problem(np.random.default_rng(seed // SEEDS))
            floor = min(definition[0] for definition in definitions)
            rngs = [np.random.default_rng([seed, rule]) for rule in range(2 + len(ALPHAS))]
            found = [shared(definitions, trials, rngs[0]), alone(definitions, trials, rngs[1])]
            found += [divided(definitions, trials, a, rng) for a, rng in zip(ALPHAS, rngs[2:], strict=True)]
            figures.append([loss - floor for loss in found])
        means = np.mean(figures, axis=0)
        print(f"{trials:>6} {means[0]:>7.4f} {means[1]:>9.4f}" + "".join(f" {m:>10.4f}" for m in means[2:]))
