"""The one door to all benchmarks: ``python -m benchmarks NAME ...``, run from the repository root.

Nothing of a benchmark is imported before it is chosen, so the list of names needs none of the other libraries.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import shlex
import sys
from typing import NamedTuple

from benchmarks.harness import published


class Benchmark(NamedTuple):
    """A benchmark: the module whose ``main`` reads the command line, one line about it, and its fixed arguments."""

    module: str
    line: str
    arguments: tuple[str, ...] = ()


BENCHMARKS = {
    "What searches find": {
        "headline": Benchmark(
            "searches.headline", "the comparison that needs no data folder, with the other libraries"
        ),
        "real": Benchmark("searches.multi_fidelity", "regret against time on real training runs", ("real",)),
        "lcbench": Benchmark("searches.multi_fidelity", "regret against epochs on LCBench's surrogates", ("lcbench",)),
        "taskset": Benchmark("searches.multi_fidelity", "regret against epochs on TaskSet's curves", ("taskset",)),
        "boosting": Benchmark("searches.multi_fidelity", "regret on XGBoost data sets kept apart", ("boosting",)),
        "shipped-spaces": Benchmark(
            "searches.shipped_spaces", "what the beliefs of hpo.spaces.xgboost are worth, on data sets kept apart"
        ),
        "small": Benchmark("searches.multi_fidelity", "regret on small training runs that need no data", ("small",)),
        "families": Benchmark("harness.families", "compare stored runs of two states of this library in all families"),
        "black-box": Benchmark("searches.black_box", "regret against evaluations where a trial has one value"),
        "carps": Benchmark("searches.carps", "tasks of CARP-S, beside its SMAC and Optuna, by an optimiser of ours"),
        "goals": Benchmark("searches.goals", "hypervolume of two objectives, and the best value under a limit"),
        "robustness": Benchmark("searches.robustness", "noise, crossing curves, divergence, unequal costs"),
        "edges": Benchmark("searches.edges", "studies in which a surrogate has nothing to learn, or too much"),
        "conditional": Benchmark("searches.conditional", "what declared conditions between parameters are worth"),
        "warm-start": Benchmark("searches.warm_start", "what earlier studies save, related or misleading"),
        "batches": Benchmark("searches.batches", "how running trials should count in the choice of the next"),
        "many-workers": Benchmark("searches.many_workers", "how busy a scheduler keeps up to 1,000 workers"),
        "converged": Benchmark("searches.converged", "what Converged() saves and loses"),
        "confirm": Benchmark("searches.confirm", "how often tuner.confirm finds the best of three finalists"),
        "draws": Benchmark("searches.draws", "Sobol draws against independent ones"),
        "auto-scale": Benchmark("searches.auto_scale", 'scale="auto" against a linear scale'),
        "max-ucb": Benchmark("searches.max_ucb", "sharing trials between several training definitions"),
    },
    "How good the model and the rules are, without whole searches": {
        "quality": Benchmark("model.quality", "how well the surrogate predicts recorded, partial curves"),
        "hyperpriors": Benchmark("model.hyperpriors", "learn the hyperpriors of the curve model, one family left out"),
        "early-curves": Benchmark("model.early_curves", "the same at the beginning of a search"),
        "schedulers": Benchmark("model.schedulers", "rules of successive halving, replayed on recorded runs"),
        "expected": Benchmark("model.expected", "how well the value to expect of the best trial fits other seeds"),
        "simulation": Benchmark("model.simulation", "how well hpo.simulate predicts what searches find"),
    },
    "What the library costs": {
        "report-cost": Benchmark("costs.report_cost", "a report, the import, and loading a large study"),
        "loop-cost": Benchmark("costs.loop_cost", "a turn of the loop as a study grows"),
        "suggestion-cost": Benchmark("costs.suggestion_cost", "a suggestion and a decision of the surrogate"),
        "save-cost": Benchmark("costs.save_cost", "a checkpoint, and resuming from it"),
        "view-cost": Benchmark("costs.view_cost", "the live view in a terminal"),
        "wall-time": Benchmark(
            "costs.wall_time", "real time to the same loss, overhead and lines, beside other libraries"
        ),
        "page-cost": Benchmark("costs.page_cost", "the page in headless Chromium"),
        "memory": Benchmark("costs.memory", "what each trial of a long run leaves in memory"),
        "contention": Benchmark("costs.contention", "many processes on one study"),
        "ray-workers": Benchmark("costs.ray_workers", "a thousand short trials on Ray"),
    },
    "Tools": {
        "report": Benchmark("harness.report", "write benchmarks/results/ and the README's tables from stored runs"),
        "optimum": Benchmark("problems.optimum", "find the best known values of LCBench offline"),
        "scales": Benchmark(
            "problems.small_trainings", "find the best and the median values of the small training runs"
        ),
        "learn-spaces": Benchmark("spaces.learn", "learn the values of hpo.spaces again"),
        "trajectories": Benchmark("costs.trajectories", "record what every search chooses, and compare two records"),
    },
}
"""Every benchmark by its name, by what it is about."""


def named() -> dict[str, Benchmark]:
    """Return every benchmark by its name."""
    return {name: benchmark for group in BENCHMARKS.values() for name, benchmark in group.items()}


def overview() -> str:
    """Return the list of benchmarks, a line each."""
    lines = [
        "usage: python -m benchmarks NAME [options]              python -m benchmarks NAME --help",
        "       python -m benchmarks --into FILE NAME [options]   also write the output to benchmarks/results/FILE.md",
    ]
    for title, group in BENCHMARKS.items():
        lines += ["", f"{title}:", *(f"  {name:<16} {benchmark.line}" for name, benchmark in group.items())]
    return "\n".join(lines)


class Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        """Write to both."""
        sys.__stdout__.write(text)
        return super().write(text)

    def flush(self) -> None:
        """Flush what is printed."""
        sys.__stdout__.flush()


def main() -> None:
    """Run the benchmark that the first argument names, with the other arguments."""
    arguments = sys.argv[1:]
    into = None
    if arguments[:1] == ["--into"] and len(arguments) > 2:
        into, arguments = arguments[1], arguments[2:]
    name, *arguments = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    benchmarks = named()
    if name not in benchmarks:
        near = difflib.get_close_matches(name, benchmarks, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SystemExit(f"No benchmark {name!r}.{hint} `python -m benchmarks --help` lists them all.")
    benchmark = benchmarks[name]
    sys.argv = [f"python -m benchmarks {name}", *benchmark.arguments, *arguments]
    try:
        module = importlib.import_module(f"benchmarks.{benchmark.module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("benchmarks", "hpo_plugins"):
            raise
        raise SystemExit(f"{name} needs {error.name}. Install it: pip install -e '.[benchmark]'") from error
    if into is None:
        module.main()
        return
    with contextlib.redirect_stdout(Tee()) as printed:
        module.main()
    title = benchmark.line[0].upper() + benchmark.line[1:]
    print(
        published.publish(into, title, shlex.join(["python", "-m", "benchmarks", name, *arguments]), printed.getvalue())
    )


if __name__ == "__main__":
    main()
