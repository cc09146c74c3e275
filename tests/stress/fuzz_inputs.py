"""Values of every kind for every argument of the public interface: each works, or is refused with one HpoError.

Usage: python tests/stress/fuzz_inputs.py [--only NAME] [--show 20]

Each call has valid arguments but for one, which takes some hundred values in turn: numbers of Python, numpy and others,
at and beyond their limits, text that cannot be stored, containers, objects that raise when they are looked at. What is
accepted is then used: a tuner hands out a trial, which reports and ends. Anything but success or an ``HpoError`` is a
raw error, and is counted by its kind and place; so is a call that takes more than ten seconds. What a value itself
raises (its ``__repr__``, say) is its own error.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import datetime as dt
import decimal
import enum
import fractions
import io
import itertools
import logging
import math
import os
import signal
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hpo_plugins as hpo
import hpo_plugins.sagemaker as service

SPACE = {"x": hpo.Continuous(0.0, 1.0), "kind": hpo.Categorical(["a", "b"])}
SECONDS = 10
FOLDER = Path(tempfile.mkdtemp())
_numbers = itertools.count()


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


class OwnError(Exception):
    """Raised by a value."""


class Hostile:
    """Raises whatever is done with it."""

    def _raise(self, *_: Any) -> Any:
        raise OwnError

    __eq__ = __len__ = __iter__ = __float__ = __index__ = __bool__ = __fspath__ = __getitem__ = __lt__ = _raise  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Unprintable:
    """Has no representation."""

    def __repr__(self) -> str:
        """Raise."""
        raise OwnError


def values() -> list[Any]:
    """Return values of every kind."""
    whole = [-1, 0, 1, 2, 3, 10, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400]
    real = [0.0, -0.0, 0.5, 1.0, 3.0, -1.5, 1e-320, 1e308, math.inf, -math.inf, math.nan]
    numpy = [kind(1) for kind in (np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64, np.bool_)]
    numpy += [np.float32("nan"), np.array(1), np.array(1.0), np.array([1]), np.array([0.5, 1]), np.array(["a", "b"])]
    numpy += [np.array([]), np.zeros((2, 2)), np.str_("a"), np.bytes_(b"a"), np.datetime64("2020"), np.complex64(1)]
    text = [
        "",
        " ",
        "a",
        "x",
        "loss",
        "1",
        "auto",
        "best",
        "log",
        "random",
        "a" * 10_000,
        "\ud800",
        "a\0b",
        "\n",
        "ü🙂",
    ]
    text += [
        "../up",
        "/",
        "~",
        "{}",
        "[1]",
        "null",
        "sqlite://",
        "postgresql://h/d",
        "no://x",
        "file:x",
        "None",
        "%s %d",
    ]
    binary = [b"", b"a", b"\xff", bytearray(b"a"), memoryview(b"a")]
    containers = [[], (), {}, set(), [1], [None], ["a"], ["a", "a"], ["a", 1], [[1]], [math.nan], [1.0, 2], ("a", "b")]
    containers += [
        {"x": 1},
        {"x": 0.5, "kind": "a"},
        {"x": None},
        {1: 2},
        {"loss": 1.0},
        {"": 1},
        {"\ud800": 1},
        {"a", "b"},
    ]
    containers += [
        frozenset("ab"),
        range(3),
        iter([1]),
        collections.OrderedDict(x=1),
        collections.deque([1]),
        [{}],
        {"x": {}},
    ]
    others = [None, True, False, 1j, decimal.Decimal("0.5"), decimal.Decimal("NaN"), fractions.Fraction(1, 2), Ellipsis]
    others += [dt.date(2020, 1, 1), dt.timedelta(1), Colour.RED, Hostile(), Unprintable(), object()]
    others += [
        print,
        lambda *_: None,
        ValueError,
        ValueError("x"),
        KeyboardInterrupt,
        types,
        io.StringIO("a"),
    ]
    others += [Path(), Path("none/of/these.db"), FOLDER, os.devnull, threading.Lock(), NotImplemented]
    ours = [hpo.Random(), hpo.Random, hpo.Bayesian(max_resource=9), hpo.Grid(), hpo.MedianRule(), hpo.Minimize("loss")]
    ours += [
        hpo.Continuous(0, 1),
        hpo.Categorical(["a"]),
        hpo.TargetReached(0.1),
        hpo.Converged,
        tuner(),
        tuner().ask(),
    ]
    return [*whole, *real, *numpy, *text, *binary, *containers, *others, *ours]


def tuner(**arguments: Any) -> hpo.Tuner:
    """Return a tuner with these arguments."""
    given = {
        "space": SPACE,
        "objective": hpo.Minimize("loss"),
        "seed": 0,
        "progress": "off",
        "max_trials": 4,
    } | arguments
    return hpo.Tuner(given.pop("space"), given.pop("objective"), **given)


def stored() -> str:
    """Return the path of a new study file."""
    return str(FOLDER / f"{next(_numbers)}.db")


def used(made: hpo.Tuner) -> None:
    """Train two trials."""
    for _ in range(2):
        trial = made.ask()
        if trial is None:
            return
        trial.report(1, {made.study.objective.metric: 1.0})
        trial.end()
    made.summary()
    made.to_dataframe()


def of_tuner(name: str) -> Callable[[Any], None]:
    """Return a call that makes a tuner with a value for an argument, and uses it."""
    # In a file, if the argument is not the file itself: what is stored must be written and read again.
    return lambda value: used(tuner(**({} if name == "storage" else {"storage": stored()}) | {name: value}))


def of_component(made: Callable[[Any], Any], place: str) -> Callable[[Any], None]:
    """Return a call that makes a component with a value, and searches with it."""

    def call(value: Any) -> None:
        component = made(value)
        wrapped = {"space": lambda: {"x": component}, "stop_when": lambda: [component]}.get(place, lambda: component)
        used(tuner(**{place: wrapped(), "storage": stored()}))

    return call


def reporting(value: Any, *, is_epoch: bool) -> None:
    """Report a value, as the epoch or as the metrics."""
    trial = tuner(storage=stored()).ask()
    assert trial is not None
    trial.report(value, {"loss": 1.0}) if is_epoch else trial.report(1, value)
    trial.end()


def trained(call: Callable[[hpo.Trial, Any], Any]) -> Callable[[Any], None]:
    """Return a call with a trial that has reported."""

    def with_trial(value: Any) -> None:
        trial = tuner(storage=stored()).ask()
        assert trial is not None
        trial.report(1, {"loss": 1.0})
        call(trial, value)
        trial.end()

    return with_trial


REQUEST = service.request_from_tuner(
    tuner(objective=hpo.Minimize("loss", at="last"), strategy=hpo.Random(), max_trials=4), job_name="job"
)


def requesting(path: tuple[str, ...], value: Any) -> None:
    """Parse a request with a value at a path."""
    request = copy.deepcopy(REQUEST)
    place = request
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    service.tuner_from_request(request)


def running() -> hpo.Tuner:
    """Return a tuner whose trial 0 runs."""
    found = tuner(storage=stored())
    found.ask()
    return found


def calls() -> dict[str, Callable[[Any], Any]]:
    """Return what is called with each value."""
    found: dict[str, Callable[[Any], Any]] = {}
    for name in (
        "space", "objective", "strategy", "max_trials", "max_runtime", "max_parallel", "early_stopping", "stop_when",
        "warm_start", "storage", "name", "seed", "checkpoints", "checkpoint_dir", "retries", "retry_on", "callbacks",
        "progress", "notes", "points_to_evaluate",
    ):  # fmt: skip
        found[f"Tuner({name})"] = of_tuner(name)
    components = {
        "Continuous(low)": (lambda v: hpo.Continuous(v, 10.0), "space"),
        "Continuous(high)": (lambda v: hpo.Continuous(0.0, v), "space"),
        "Continuous(scale)": (lambda v: hpo.Continuous(0.1, 1.0, v), "space"),
        "Continuous(when)": (lambda v: hpo.Continuous(0.1, 1.0, when=v), "space"),
        "Integer(low)": (lambda v: hpo.Integer(v, 10), "space"),
        "Integer(high)": (lambda v: hpo.Integer(0, v), "space"),
        "Integer(scale)": (lambda v: hpo.Integer(1, 9, v), "space"),
        "Categorical(values)": (hpo.Categorical, "space"),
        "Categorical([value])": (lambda v: hpo.Categorical([v, "other"]), "space"),
        "Minimize(metric)": (hpo.Minimize, "objective"),
        "Maximize(at)": (lambda v: hpo.Maximize("loss", v), "objective"),
        "Hyperband(min_resource)": (lambda v: hpo.Hyperband(v, 9), "strategy"),
        "Hyperband(max_resource)": (lambda v: hpo.Hyperband(1, v), "strategy"),
        "Hyperband(reduction_factor)": (lambda v: hpo.Hyperband(1, 9, v), "strategy"),
        "Hyperband(search)": (lambda v: hpo.Hyperband(1, 9, search=v), "strategy"),
        "Hyperband(pause)": (lambda v: hpo.Hyperband(1, 9, pause=v), "strategy"),
        "Bayesian(max_resource)": (hpo.Bayesian, "strategy"),
        "Bayesian(pause)": (lambda v: hpo.Bayesian(9, v), "strategy"),
        "Bayesian(cost)": (lambda v: hpo.Bayesian(9, cost=v), "strategy"),
        "MedianRule(min_trials)": (hpo.MedianRule, "early_stopping"),
        "MedianRule(min_epochs)": (lambda v: hpo.MedianRule(1, v), "early_stopping"),
        "TargetReached(value)": (hpo.TargetReached, "stop_when"),
        "NotImproving(trials)": (hpo.NotImproving, "stop_when"),
        "NotImproving(min_delta)": (lambda v: hpo.NotImproving(3, v), "stop_when"),
        "Converged(min_trials)": (hpo.Converged, "stop_when"),
        "WarmStart(parents)": (hpo.WarmStart, "warm_start"),
        "WarmStart([parent])": (lambda v: hpo.WarmStart([v]), "warm_start"),
    }
    for name, (made, place) in components.items():
        found[name] = of_component(made, place)
    found |= {
        "report(epoch)": lambda v: reporting(v, is_epoch=True),
        "report(metrics)": lambda v: reporting(v, is_epoch=False),
        "report({loss: })": lambda v: reporting({"loss": v}, is_epoch=False),
        "report({other: })": lambda v: reporting({"loss": 1.0, "other": v}, is_epoch=False),
        "save(write)": trained(lambda t, v: t.save(v)),
        "save(suffix)": trained(lambda t, v: t.save(Path.touch, suffix=v)),
        "fail(error)": trained(lambda t, v: t.fail(v)),
        "folds(n)": lambda v: next(tuner(storage=stored()).ask().folds(v)).report(1, {"loss": 1.0}),
        "plugin.warn_once(subject)": trained(lambda t, v: t.plugin.warn_once(v, "a message")),
        "enqueue(params)": lambda v: tuner(storage=stored()).enqueue(v),
        "enqueue({x: })": lambda v: tuner(storage=stored()).enqueue({"x": v}),
        "points_to_evaluate([])": lambda v: used(tuner(points_to_evaluate=[v])),
        "callbacks([])": lambda v: used(tuner(callbacks=[v])),
        "retry_on([])": lambda v: used(tuner(retry_on=[v])),
        "restart(number)": lambda v: tuner(storage=stored()).restart(v),
        "stop_trial(number)": lambda v: tuner(storage=stored()).stop_trial(v),
        "stop_trial(note)": lambda v: running().stop_trial(0, v),
        "fail_trial(number)": lambda v: tuner(storage=stored()).fail_trial(v),
        "fail_trial(reason)": lambda v: running().fail_trial(0, v),
        "annotate(trial)": lambda v: tuner(storage=stored()).annotate(v, note="x"),
        "annotate(note)": lambda v: tuner(storage=stored()).annotate(note=v, tags=[]),
        "annotate(tags)": lambda v: tuner(storage=stored()).annotate(tags=v, note=""),
        "annotate(tags=[])": lambda v: tuner(storage=stored()).annotate(tags=[v]),
        "run(train)": lambda v: tuner(max_trials=1).run(v) if v is not print else None,
        "run(workers)": lambda v: tuner(max_trials=1).run(_train, workers=v) if _is_small(v) else None,
        "Tuner.load(storage)": hpo.Tuner.load,
        "Tuner.load(name)": lambda v: hpo.Tuner.load(_study(), v),
        "Tuner.load(checkpoint_dir)": lambda v: hpo.Tuner.load(_study(), checkpoint_dir=v),
        "to_html(path)": _report,
        "studies(storage)": lambda v: list(hpo.studies(v)),
        "simulate(study)": lambda v: hpo.simulate(v, [hpo.Random()], max_trials=2, repeats=1),
    }
    for name in ("strategies", "train", "name", "workers", "max_trials", "budget", "repeats", "seed"):
        found[f"simulate({name})"] = lambda v, name=name: _simulate(**{name: v})
    job = "HyperParameterTuningJobConfig"
    ranges = REQUEST[job]["ParameterRanges"]
    kind = next(name for name, rows in ranges.items() if rows)
    paths = [(job,), (job, "Strategy"), (job, "HyperParameterTuningJobObjective"), (job, "ResourceLimits")]
    paths += [
        (job, "ResourceLimits", "MaxNumberOfTrainingJobs"),
        (job, "ParameterRanges"),
        (job, "ParameterRanges", kind),
    ]
    paths += [
        (job, "TrainingJobEarlyStoppingType"),
        (job, "RandomSeed"),
        ("TrainingJobDefinition",),
        ("WarmStartConfig",),
    ]
    for path in paths:
        found[f"request{list(path)}"] = lambda v, path=path: requesting(path, v)
    found["tuner_from_request(request)"] = service.tuner_from_request
    found["request_from_tuner(job_name)"] = lambda v: service.request_from_tuner(tuner(), job_name=v)
    found["request_from_tuner(tuner)"] = lambda v: service.request_from_tuner(v, job_name="job")
    return found


def _train(trial: hpo.Trial) -> None:
    trial.report(1, {"loss": 1.0})


def _is_small(workers: Any) -> bool:
    try:
        return not workers > 2
    except Exception:  # noqa: BLE001 - no number, then
        return True


def _simulate(**arguments: Any) -> hpo.simulation.Simulation | None:
    if not all(_is_small(arguments.get(name)) for name in ("workers", "repeats", "max_trials")):
        return None  # large ones are simulated for long
    given = {"train": lambda _: ([1.0, 0.5], 1.0), "max_trials": 2, "repeats": 1} | arguments
    return hpo.simulate(tuner(), given.pop("strategies", [hpo.Random()]), **given)


def _study() -> str:
    path = stored()
    used(tuner(storage=path))
    return path


def _report(value: Any) -> None:
    made = tuner()
    used(made)
    made.to_html(value)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except Exception:  # noqa: BLE001 - it has no representation
        return f"a {type(value).__name__}"


class _TooLong(BaseException):
    """The call has not ended."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def main() -> None:
    """Call everything, and print what raised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="calls whose name contains this")
    parser.add_argument("--show", type=int, default=40, help="how many kinds of raw error to print")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.chdir(FOLDER)
    counts, raw = collections.Counter[str](), collections.defaultdict[tuple[str, str], list[str]](list)
    for name, call in calls().items():
        if arguments.only not in name:
            continue
        for value in values():
            try:
                with _limited(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    call(value)
                counts["worked"] += 1
            except hpo.HpoError:
                counts["refused"] += 1
            except OwnError:
                counts["own"] += 1
            except (_TooLong, Exception) as error:  # noqa: BLE001 - what is sought
                counts["raw"] += 1
                place = traceback.extract_tb(error.__traceback__)
                ours = [frame for frame in place if "hpo_plugins" in frame.filename] or place
                where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
                raw[type(error).__name__, where].append(f"{name} = {_shown(value)}: {_shown(error)}")
    print(f"{sum(counts.values()):,} inputs: {counts['worked']:,} worked, {counts['refused']:,} were refused, ", end="")
    print(f"{counts['own']:,} raised their own error, ", end="")
    print(f"{counts['raw']:,} had raw errors of {len(raw)} kinds")
    for (kind, where), examples in sorted(raw.items(), key=lambda item: -len(item[1]))[: arguments.show]:
        print(f"{len(examples):5} {kind:20} {where:28} {examples[0]}")


if __name__ == "__main__":
    main()
