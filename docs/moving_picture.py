"""The moving picture of the first page: ``python docs/moving_picture.py`` runs the main example and replays its search.

The picture is an SVG that animates with CSS: it needs no script, and stands still where motion is to be reduced.
``python docs/moving_picture.py tuning.db`` replays a stored search instead.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import hpo_plugins as hpo

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "pictures" / "search.svg"
REPLAY, STILL = 12.0, 4.0  # seconds in which the search is replayed, and for which its end is shown
LEFT, RIGHT, TOP, BOTTOM = 64, 776, 84, 366
COLOURS = {"stopped": "#8b98a9", "completed": "#2f6fde", "best": "#e8710a"}
LEGEND = [(64, "stopped", "stopped early"), (184, "completed", "trained in full"), (310, "best", "the best")]
Trials = tuple[hpo.TrialRecord, ...]


def run_example(storage: Path) -> None:
    """Run the main example."""
    command = [sys.executable, str(ROOT / "examples" / "xgboost_digits.py"), str(storage)]
    subprocess.run(command, check=True, capture_output=True)


class Axes:
    """Both axes are logarithmic: from the first round to the last one, from the best value to the worst."""

    def __init__(self, trials: Trials) -> None:
        values = [value for trial in trials for value in trial.curve.values()]
        self.low, self.high = min(values) * 0.9, max(values) * 1.05
        self.rounds = max(trial.epochs for trial in trials)

    def x(self, epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(epoch) / math.log(self.rounds)

    def y(self, value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * math.log(value / self.low) / math.log(self.high / self.low)

    def drawn(self) -> list[str]:
        """Return the lines and labels of the axes."""
        parts = []
        for epoch in (1, 3, 9, 27, 81):
            x = self.x(epoch)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>')
            parts.append(f'<text class="label" x="{x:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{epoch}</text>')
        for value in (0.1, 0.3, 1.0, 2.0):
            parts.append(f'<path class="grid" d="M{LEFT} {self.y(value):.1f}H{RIGHT}"/>')
            parts.append(
                f'<text class="label" x="{LEFT - 8}" y="{self.y(value) + 4:.1f}" text-anchor="end">{value}</text>'
            )
        middle = (LEFT + RIGHT) / 2
        parts.append(f'<text class="label" x="{middle}" y="{BOTTOM + 40}" text-anchor="middle">boosting round</text>')
        return parts


def percent(seconds: float) -> str:
    """Return a time of the replay as a part of the whole animation."""
    return f"{100 * seconds / (REPLAY + STILL):.2f}%"


def replayed(trials: Trials) -> list[tuple[float, float]]:
    """Return when each trial begins and ends in the replay, in seconds."""
    begin = trials[0].started_at
    end = max(trial.ended_at or trial.started_at for trial in trials)
    scale = REPLAY / (end - begin)
    return [((trial.started_at - begin) * scale, ((trial.ended_at or end) - begin) * scale) for trial in trials]


def kind(trial: hpo.TrialRecord, best: hpo.TrialRecord) -> str:
    """Return how the curve of a trial is drawn."""
    return "best" if trial.number == best.number else trial.state.value


def curves(trials: Trials, best: hpo.TrialRecord, axes: Axes) -> list[str]:
    """Return the learning curves; those of the longest trials, and the best one, are drawn last."""
    drawn = []
    for trial in sorted(trials, key=lambda trial: list(COLOURS).index(kind(trial, best))):
        path = "M" + "L".join(f"{axes.x(epoch):.1f} {axes.y(value):.1f}" for epoch, value in trial.curve.items())
        drawn.append(f'<path class="curve {kind(trial, best)} c{trial.number}" pathLength="1" d="{path}"/>')
    return drawn


def captions(trials: Trials) -> list[str]:
    """Return what is said above the curves, a line for each trial that has ended."""
    lines, best, rounds = [], math.inf, 0
    for trial in trials:
        best, rounds = min(best, trial.value or math.inf), rounds + trial.epochs
        text = f"{trial.number + 1} of {len(trials)} trials · {rounds:,} rounds trained · best mlogloss {best:.4f}"
        last = " last" if trial is trials[-1] else ""
        lines.append(f'<text class="now t{trial.number}{last}" x="{LEFT}" y="60">{text}</text>')
    return lines


def motion(trials: Trials) -> str:
    """Return the animations: each curve is drawn while its trial trains, its caption is shown from its end on."""
    rules, times = [], replayed(trials)
    for number, (start, stop) in enumerate(times):
        shown = stop if number else 0.0
        hidden = f"{percent(times[number + 1][1])},100%{{opacity:0}}" if number + 1 < len(times) else ""
        rules += [
            f"@keyframes c{number}{{0%,{percent(start)}{{stroke-dashoffset:1.01}}",
            f"{percent(stop)},100%{{stroke-dashoffset:0}}}}.c{number}{{animation-name:c{number}}}",
            f"@keyframes t{number}{{0%{{opacity:0}}{percent(shown)}{{opacity:1}}{hidden}}}",
            f".t{number}{{animation-name:t{number}}}",
        ]
    return "".join(rules)


def style(trials: Trials) -> str:
    """Return the style sheet."""
    return f"""<style>
    text {{ font-family: system-ui, sans-serif; fill: #24303f }}
    .title {{ font-size: 19px; font-weight: 600 }} .now {{ font-size: 15px; opacity: 0 }} .last {{ opacity: 1 }}
    .label {{ font-size: 12px; fill: #5b6878 }} .grid {{ stroke: #e3e8ee; fill: none }}
    .curve {{ fill: none; stroke-linejoin: round; stroke-dasharray: 1.01; stroke-dashoffset: 0 }}
    {" ".join(f".{name} {{ stroke: {colour} }}" for name, colour in COLOURS.items())}
    .stopped {{ stroke-width: 1.2; opacity: .75 }} .completed {{ stroke-width: 1.8 }} .best {{ stroke-width: 3 }}
    @media (prefers-reduced-motion: no-preference) {{
      .curve, .now {{ animation: {REPLAY + STILL}s linear infinite }} .now {{ animation-timing-function: step-end }}
      {motion(trials)}
    }}
    </style>"""


def legend(trials: Trials, rounds: int) -> list[str]:
    """Return what the colours mean, and how much of all rounds was trained."""
    parts = [
        f'<path class="{name}" style="stroke-width:3" d="M{x} 424h22"/>'
        f'<text class="label" x="{x + 28}" y="428">{text}</text>'
        for x, name, text in LEGEND
    ]
    full, trained = len(trials) * rounds, sum(trial.epochs for trial in trials)
    note = f"a real search, replayed; {trained:,} of {full:,} rounds were trained"
    return [*parts, f'<text class="label" x="{RIGHT}" y="428" text-anchor="end">{note}</text>']


def svg(tuner: hpo.Tuner) -> str:
    """Return the replay of a search as an SVG."""
    trials, axes = tuner.trials, Axes(tuner.trials)
    title = f"examples/xgboost_digits.py: Hyperband on {len(trials)} configurations"
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 444" width="800" height="444" role="img">',
        f"<title>A search: {len(trials)} configurations start, and most are stopped after a few rounds</title>",
        style(trials),
        '<rect x=".5" y=".5" width="799" height="443" rx="10" fill="#fff" stroke="#d5dce5"/>',
        f'<text class="title" x="{LEFT}" y="36">{title}</text>',
        *captions(trials), *axes.drawn(), *curves(trials, tuner.best_trial, axes), *legend(trials, axes.rounds),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "tuning.db"
        if len(sys.argv) == 1:
            run_example(storage)
        TARGET.write_text(svg(hpo.Tuner.load(storage)), encoding="utf-8")


if __name__ == "__main__":
    main()
