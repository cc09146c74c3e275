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


def run_example(storage: Path) -> None:
    """Run the main example."""
    command = [sys.executable, str(ROOT / "examples" / "xgboost_digits.py"), str(storage)]
    subprocess.run(command, check=True, capture_output=True)


class Axes:
    """Both axes are logarithmic: from the first round to the last one, from the best value to the worst."""

    def __init__(self, trials: tuple[hpo.TrialRecord, ...]) -> None:
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
            parts.append(f'<text class="label" x="{LEFT - 8}" y="{self.y(value) + 4:.1f}" text-anchor="end">{value}</text>')
        middle = (LEFT + RIGHT) / 2
        parts.append(f'<text class="label" x="{middle}" y="{BOTTOM + 40}" text-anchor="middle">boosting round</text>')
        return parts


def percent(seconds: float) -> str:
    """Return a time of the replay as a part of the whole animation."""
    return f"{100 * seconds / (REPLAY + STILL):.2f}%"


def svg(tuner: hpo.Tuner) -> str:
    """Return the replay of a search as an SVG."""
    trials = tuner.trials
    begin, end = trials[0].started_at, max(trial.ended_at or trial.started_at for trial in trials)
    axes, total = Axes(trials), REPLAY + STILL

    def replayed(at: float | None) -> float:
        return REPLAY * ((at or end) - begin) / (end - begin)

    ends = [replayed(trial.ended_at) for trial in trials]
    rules, curves, captions = [], [], []
    best, rounds = math.inf, 0
    for trial in trials:
        start, stop = replayed(trial.started_at), ends[trial.number]
        path = "M" + "L".join(f"{axes.x(epoch):.1f} {axes.y(value):.1f}" for epoch, value in trial.curve.items())
        kind = "best" if trial.number == tuner.best_trial.number else trial.state.value
        curves.append((kind, f'<path class="curve {kind} c{trial.number}" pathLength="1" d="{path}"/>'))
        rules.append(
            f"@keyframes c{trial.number}{{0%,{percent(start)}{{stroke-dashoffset:1.01}}"
            f"{percent(stop)},100%{{stroke-dashoffset:0}}}}.c{trial.number}{{animation-name:c{trial.number}}}"
        )
        best, rounds = min(best, trial.value or math.inf), rounds + trial.epochs
        text = f"{trial.number + 1} of {len(trials)} trials · {rounds:,} rounds trained · best mlogloss {best:.4f}"
        last = trial is trials[-1]
        since, until = (stop if trial.number else 0), "" if last else f"{percent(ends[trial.number + 1])},100%{{opacity:0}}"
        captions.append(f'<text class="now t{trial.number}{" last" if last else ""}" x="{LEFT}" y="60">{text}</text>')
        rules.append(
            f"@keyframes t{trial.number}{{0%{{opacity:0}}{percent(since)}{{opacity:1}}{until}}}"
            f".t{trial.number}{{animation-name:t{trial.number}}}"
        )
    order = ["stopped", "completed", "best"]
    drawn = [path for _, path in sorted(curves, key=lambda curve: order.index(curve[0]))]
    full = len(trials) * axes.rounds
    style = f"""
    text {{ font-family: system-ui, sans-serif; fill: #24303f }}
    .title {{ font-size: 19px; font-weight: 600 }} .now {{ font-size: 15px; opacity: 0 }} .last {{ opacity: 1 }}
    .label {{ font-size: 12px; fill: #5b6878 }} .grid {{ stroke: #e3e8ee; fill: none }}
    .curve {{ fill: none; stroke-linejoin: round; stroke-dasharray: 1.01; stroke-dashoffset: 0 }}
    {" ".join(f".{kind} {{ stroke: {colour} }}" for kind, colour in COLOURS.items())}
    .stopped {{ stroke-width: 1.2; opacity: .75 }} .completed {{ stroke-width: 1.8 }} .best {{ stroke-width: 3 }}
    @media (prefers-reduced-motion: no-preference) {{
      .curve, .now {{ animation: {total}s linear infinite }} .now {{ animation-timing-function: step-end }}
      {"".join(rules)}
    }}"""
    legend = [
        f'<path class="{kind}" style="stroke-width:3" d="M{x} 424h22"/><text class="label" x="{x + 28}" y="428">{text}</text>'
        for x, kind, text in (
            (64, "stopped", "stopped early"),
            (184, "completed", "trained in full"),
            (310, "best", "the best"),
        )
    ]
    note = f"a real search, replayed; {rounds:,} of {full:,} rounds were trained"
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 444" width="800" height="444" role="img">',
            f"<title>A search: {len(trials)} configurations of XGBoost, most of which are stopped after a few rounds"
            "</title>",
            f"<style>{style}\n</style>",
            '<rect x=".5" y=".5" width="799" height="443" rx="10" fill="#fff" stroke="#d5dce5"/>',
            f'<text class="title" x="{LEFT}" y="36">examples/xgboost_digits.py: Hyperband on {len(trials)} configurations'
            "</text>",
            *captions, *axes.drawn(), *drawn, *legend,
            f'<text class="label" x="{RIGHT}" y="428" text-anchor="end">{note}</text>',
            "</svg>", "",
        ]
    )  # fmt: skip


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "tuning.db"
        if len(sys.argv) == 1:
            run_example(storage)
        TARGET.write_text(svg(hpo.Tuner.load(storage)), encoding="utf-8")


if __name__ == "__main__":
    main()
