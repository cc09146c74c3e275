"""Measure the surrogate's predictions of final values, to develop changes of the model without searches.

Usage: python -m benchmarks quality record FILE.json       (once: partial curves, as searches leave them)
       python -m benchmarks quality FILE.json [suite ...]  (fits the model to them)

A record is a search that was broken off: its configurations, and how far each was trained. The surrogate is conditioned
on these partial curves, and predicts the best value of every full training run: of the training runs themselves that
are not complete ("own"), and of random configurations ("new"). Printed, as means over the records with standard errors:

nlpd     negative log predictive density of the regret, of training runs that end with a regret below 1; less is better;
         a hundredth of the density is uniform on regrets from 0 to 2, or one failure would hide everything else
rank     rank correlation of predictions and ends
best     the same within the best quarter of the ends
z        median over records of the root mean square of (end - mean) / deviation: 1 if the deviations are right
cpu      milliseconds to fit, and to condition
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Problem, Searcher, Trial
from benchmarks.harness.simulator import Simulation
from benchmarks.methods import ours
from benchmarks.methods.oracles import best_score
from benchmarks.problems import conditions, lcbench, real_tasks
from hpo_plugins.history import History
from hpo_plugins.modeling.model import Model, fit_model
from hpo_plugins.records import ReportRow, TrialRow, TrialState
from hpo_plugins.space import Space

SUITES = ("real", "plain", "crossing", "noise")
RECORDED_WITH = ("bayesian, pause", "hyperband, random")
PARTS = (0.1, 0.3)
"""Parts of the budget of 20 full training runs after which searches are broken off."""
SEEDS = (0, 1)
N_NEW = 100
SCORES = ("nlpd", "rank", "best", "z")
COLUMNS = [f"{kind} {name}" for kind in ("own", "new") for name in SCORES]
STEP = 1e-4
"""In regret: over which the scale's slope is taken."""
Array = NDArray[np.float64]


def problems(suite: str) -> dict[str, Problem]:
    """Return the problems of a suite by name."""
    if suite == "real":
        return {name: real_tasks.RealTask(name).problem for name in real_tasks.names()}
    return {name: conditions.problem(name, suite) for name in lcbench.DEV}


def recorded(problem: Problem, method: str, part: float, seed: int) -> list[dict[str, Any]]:
    """Return the training runs of a search that is broken off: ``params``, and the values ``reported`` so far."""
    trained: dict[str, dict[str, Any]] = {}

    def noting(searcher: Searcher) -> Searcher:
        def start(problem: Problem, seed: int, clock: Clock) -> Ask:
            ask = searcher(problem, seed, clock)

            def noted() -> Trial | None:
                trial = ask()
                if trial is not None:
                    row = trained.setdefault(repr(trial.params), {"params": trial.params, "reported": []})
                    report = trial.report
                    trial.report = lambda epoch, value: (row["reported"].append(value), report(epoch, value))[1]
                return trial

            return noted

        return start

    budget = 20 * part * problem.epochs
    Simulation(problem, noting(ours.MULTI_FIDELITY[method]), seed, budget, workers=1, in_seconds=False).run()
    return [row for row in trained.values() if row["reported"]]


def record(path: Path) -> None:
    """Write all records."""
    found = []
    for suite in SUITES:
        for name, problem in problems(suite).items():
            space, rng = Space(problem.space), np.random.default_rng(0)
            if suite == "real":
                task = real_tasks.RealTask(name)
                rows = task.recorded
                chosen = rng.permutation(len(rows["U"]))[:N_NEW]
                new = [space.decode(np.clip(point, 0, 1)) for point in rows["U"][chosen]]
            else:
                new = [space.decode(rng.random(len(space))) for _ in range(N_NEW)]
            new_ends = [best_score(problem, params) for params in new]
            for method in RECORDED_WITH:
                for part in PARTS:
                    for seed in SEEDS:
                        trials = recorded(problem, method, part, seed)
                        found.append({
                            "suite": suite, "name": name, "method": method, "part": part, "seed": seed,
                            "epochs": problem.epochs, "best": problem.best, "median": problem.median,
                            "trials": trials, "ends": [best_score(problem, row["params"]) for row in trials],
                            "new": new, "new_ends": new_ends,
                        })  # fmt: skip
            print(suite, name, flush=True)
            path.write_text(json.dumps(found))


def history_of(space: Space, last: int, trials: list[dict[str, Any]]) -> History:
    """Return the history of a search that was broken off."""
    history = History(space, hpo.Maximize("value"))
    for number, row in enumerate(trials):
        values = row["reported"]
        state = TrialState.COMPLETED if len(values) == last else TrialState.PAUSED
        history.put_trial(TrialRow(number, row["params"], state, 1, 0, "worker", None, float(number)))
        for epoch, value in enumerate(values, 1):
            history.put_report(ReportRow(number, 1, epoch, value, {"value": value}, float(epoch)))
    return history


def scores(model: Model, points: Array, known: list[float], case: dict[str, Any]) -> list[float]:
    """Return nlpd, rank, best and z of the predictions of the ends of training runs.

    The process predicts on the model's scale; densities are changed to those of regrets by the scale's slope.
    """
    prediction = model.posterior.predict(model.inputs(points, case["epochs"]))
    deviation = np.sqrt(prediction.deviation**2 + model.posterior.hyperparameters.noise)
    width = case["best"] - case["median"]
    end = -np.array(known)
    regret = (end + case["best"]) / width
    chosen = np.isfinite(regret) & (regret < 1)
    slope = (model.scale(end + STEP * width) - model.scale(end - STEP * width)) / (2 * STEP)
    z = (model.scale(end) - prediction.mean)[chosen] / deviation[chosen]
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / deviation[chosen] * slope[chosen]
    density = 0.99 * density + 0.01 / 2
    order = np.nan_to_num(regret, posinf=1e9, nan=1e9)
    best = order <= np.quantile(order, 0.25)
    return [
        -float(np.mean(np.log(density))),
        float(spearmanr(prediction.mean, order).statistic),
        float(spearmanr(prediction.mean[best], order[best]).statistic) if best.sum() > 3 else np.nan,
        float(np.sqrt(np.mean(z**2))),
    ]


def evaluate(case: dict[str, Any], space: Space) -> list[float]:
    """Return the scores of one record: own, new, and the CPU milliseconds."""
    history = history_of(space, case["epochs"], case["trials"])
    start = time.process_time()
    model = fit_model(history, case["epochs"])
    assert model is not None
    model.posterior  # noqa: B018 - computed when first asked for
    spent = 1e3 * (time.process_time() - start)
    partial = np.array([len(row["reported"]) < case["epochs"] for row in case["trials"]])
    own_ends = [end for end, chosen in zip(case["ends"], partial, strict=True) if chosen]
    own = scores(model, model.points[: len(partial)][partial], own_ends, case)
    points = model.encoder.snap(np.array([space.encode(params) for params in case["new"]]))
    return [*own, *scores(model, points, case["new_ends"], case), spent]


def summary(table: Array) -> Array:
    """Return the means over records of scores of shape ``(n, columns)``; of z, the medians."""
    z = [index for index, name in enumerate(COLUMNS) if name.endswith(" z")]
    mean: Array = np.nanmean(table, axis=0)
    mean[z] = np.nanmedian(table[:, z], axis=0)
    return mean


def main() -> None:
    """Record, or evaluate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="+")
    parser.add_argument("--each", action="store_true", help="print every problem")
    arguments = parser.parse_args()
    if arguments.words[0] == "record":
        record(Path(arguments.words[1]))
        return
    cases = json.loads(Path(arguments.words[0]).read_text())
    print(f"{'suite':>24} " + " ".join(name.rjust(14) for name in [*COLUMNS, "cpu"]))
    for suite in arguments.words[1:] or SUITES:
        spaces = {name: Space(problem.space) for name, problem in problems(suite).items()}
        rows = {}
        for case in cases:
            if case["suite"] == suite:
                rows[case["name"], case["method"], case["part"], case["seed"]] = evaluate(case, spaces[case["name"]])
        groups = {suite: list(rows.values())}
        if arguments.each:
            groups |= {name: [row for key, row in rows.items() if key[0] == name] for name in spaces}
        groups |= {f"{suite}, {part:.0%}": [row for key, row in rows.items() if key[2] == part] for part in PARTS}
        for label, group in groups.items():
            if not group:
                continue
            table = np.array(group)
            mean, error = summary(table), np.nanstd(table, axis=0, ddof=1) / np.sqrt(len(table))
            cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
            for index, digits in ((3, 2), (7, 2), (8, 1)):
                cells[index] = f"{mean[index]:.{digits}f}"
            print(f"{label:>24} " + " ".join(cell.rjust(14) for cell in cells), flush=True)
