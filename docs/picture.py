"""Draw the README's picture from a stored study: python docs/picture.py tuning.db docs/hyperband.png."""

import sys

import matplotlib.pyplot as plt

import hpo_plugins as hpo

COLOURS = {"completed": "#1b7837", "stopped": "#9e9e9e", "failed": "#c51b7d"}


def main() -> None:
    """Draw every trial's curve, and what was not trained."""
    tuner = hpo.Tuner.load(sys.argv[1])
    trials, full = tuner.trials, tuner.strategy.full_training()
    trained = sum(trial.epochs for trial in trials)
    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=130)
    for trial in sorted(trials, key=lambda trial: trial.epochs):
        colour = COLOURS[trial.state.value]
        axes.plot(list(trial.curve), list(trial.curve.values()), color=colour, lw=1, alpha=0.8)
        axes.plot(trial.epochs, trial.curve[trial.epochs], "o", color=colour, ms=3)
    axes.set(xscale="log", yscale="log", xlabel="boosting rounds", ylabel=tuner.objective.metric)
    axes.set_xticks([1, 3, 9, 27, 81], ["1", "3", "9", "27", "81"])
    axes.minorticks_off()
    for rung in tuner.strategy.rungs(0):
        axes.axvline(rung, color="#cccccc", lw=0.8, ls=":", zorder=0)
    share = trained / (full * len(trials))
    axes.set_title(
        f"{len(trials)} configurations, {trained} of {full * len(trials):,} rounds trained ({share:.0%})", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
