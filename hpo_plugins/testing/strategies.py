"""Laws of every strategy and every stopping rule: they are functions of the history, and keep no state."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hpo_plugins.objective import Minimize
from hpo_plugins.records import TrialState
from hpo_plugins.space import Categorical, Continuous, Integer, Ordinal, Params
from hpo_plugins.strategies import Random, StoppingRule, Strategy
from hpo_plugins.testing._studies import is_value_of
from hpo_plugins.tuner import Tuner

LOSS = Minimize("loss")


def run(tuner: Tuner, epochs: int = 9, until: int | None = None) -> list[Params]:
    """Train a made-up model in every trial of a search, and return the configurations.

    Args:
        tuner: The search.
        epochs: Epochs of a full training run.
        until: The trial at which the loop is left, before it reports: it is released.
    """
    for trial in tuner:
        if trial.number == until:
            break
        loss = len(json.dumps(trial.params)) + 0.1 * trial.number
        for epoch in range(trial.start_epoch + 1, epochs + 1):
            if trial.report(epoch, {"loss": loss + 1 / epoch}):
                break
    return [t.params for t in tuner.trials]


class FiniteStrategyContract:
    """The laws of a strategy that takes finite spaces only, as ``Grid`` does; ``make`` returns it.

    Attributes:
        finite_space: A space of few configurations, whose values differ in their types.
        epochs: Epochs of a full training run.
    """

    finite_space: ClassVar[Mapping[str, Any]] = {
        "a": Categorical(["x", "y", "z"]),
        "b": Categorical([True, 1, 1.0, None]),
    }
    epochs: ClassVar[int] = 9

    def make(self) -> Strategy:
        """Return the strategy; two calls return equal ones."""
        raise NotImplementedError(f"{type(self).__name__} must define make(self), which returns a strategy.")

    def test_finite_space_is_exhausted_without_a_repeat(self) -> None:
        """Each configuration is tried once, then the search ends and says so."""
        tuner = Tuner(self.finite_space, LOSS, strategy=self.make(), seed=3)
        configurations = run(tuner, self.epochs)
        size = tuner.space.size
        assert len(configurations) == len({json.dumps(c, sort_keys=True) for c in configurations}) == size
        assert tuner.done
        assert tuner.ask() is None
        assert tuner.stop_reason == f"space exhausted: all {size} configurations have been tried"

    def test_own_configurations_are_not_repeated(self) -> None:
        """A configuration that the user gives is tried first, and not suggested again."""
        given = {name: parameter.values[-1] for name, parameter in self.finite_space.items()}
        tuner = Tuner(self.finite_space, LOSS, strategy=self.make(), seed=3, points_to_evaluate=[given])
        configurations = run(tuner, self.epochs)
        assert configurations[0] == given
        assert len({json.dumps(c, sort_keys=True) for c in configurations}) == len(configurations) == tuner.space.size

    def test_restart_continues_as_if_never_stopped(self, tmp_path: Path) -> None:
        """A process that takes over a study makes the suggestions and decisions of the first process."""
        uninterrupted = Tuner(self.finite_space, LOSS, strategy=self.make(), seed=0)
        whole = run(uninterrupted, self.epochs)

        def again() -> Tuner:
            return Tuner(self.finite_space, LOSS, strategy=self.make(), seed=0, storage=tmp_path / "study.db")

        for until in (2, 5, 9):
            run(again(), self.epochs, until)
        last = again()
        assert run(last, self.epochs) == whole
        assert [t.curve for t in last.trials] == [t.curve for t in uninterrupted.trials]
        assert [t.stop_reason for t in last.trials] == [t.stop_reason for t in uninterrupted.trials]

    def test_stored_strategy_is_read_back(self, tmp_path: Path) -> None:
        """The storage keeps the strategy by its name and its arguments."""
        Tuner(self.finite_space, LOSS, strategy=self.make(), storage=tmp_path / "study.db")
        assert Tuner.load(tmp_path / "study.db").strategy == self.make()

    def test_description_names_the_strategy(self) -> None:
        """``describe`` describes the strategy's plan."""
        assert type(self.make()).__name__ in self.make().describe()

    def test_ordered_and_stepped_values_are_exhausted_without_a_repeat(self) -> None:
        """Values in an order and numbers with a step are listed values; conditions may name them."""
        space: Mapping[str, Any] = {
            "width": Ordinal([16, 32, 64]),
            "dropout": Continuous(0.0, 0.2, step=0.1),
            "layers": Integer(2, 6, step=2),
            "kind": Categorical(["a", "b"], when={"width": [32, 64], "dropout": 0.1, "layers": 6}),
        }
        tuner = Tuner(space, LOSS, strategy=self.make(), seed=1)
        for trial in tuner:
            for epoch in range(trial.start_epoch + 1, self.epochs + 1):
                if trial.report(epoch, {"loss": trial.number / epoch}):
                    break
        configurations = [t.params for t in tuner.trials]
        assert len({json.dumps(c, sort_keys=True) for c in configurations}) == len(configurations)
        assert len(configurations) == tuner.space.size == 29
        assert {c["dropout"] for c in configurations} == {0.0, 0.1, 0.2}

    def test_only_valid_configurations_are_tried(self) -> None:
        """Of a finite space with a constraint, every valid configuration is tried once, and no other one."""
        space: Mapping[str, Any] = {
            "low": Ordinal([1, 2, 4]),
            "high": Integer(1, 4, step=1),
            "gap": Categorical([1, 2], when={"low": [1, 2]}),
        }
        tuner = Tuner(space, LOSS, strategy=self.make(), seed=1, valid="low < high and low + gap <= high")
        for trial in tuner:
            for epoch in range(trial.start_epoch + 1, self.epochs + 1):
                if trial.report(epoch, {"loss": trial.number / epoch}):
                    break
        tried = sorted([t.params["low"], t.params["high"], t.params["gap"]] for t in tuner.trials)
        assert tried == [[1, 2, 1], [1, 3, 1], [1, 3, 2], [1, 4, 1], [1, 4, 2], [2, 3, 1], [2, 4, 1], [2, 4, 2]]

    def test_failed_trials_are_no_obstacle(self, caplog: pytest.LogCaptureFixture) -> None:
        """A trial without a result, and one whose metric is not finite, end as FAILED; the search continues."""
        tuner = Tuner(self.finite_space, LOSS, strategy=self.make(), seed=0)
        for trial in tuner:
            if trial.number % 3 == 1:
                trial.report(1, {"loss": float("nan")})
            elif trial.number % 3 == 2:
                trial.fail("out of memory")
            else:
                for epoch in range(trial.start_epoch + 1, self.epochs + 1):
                    if trial.report(epoch, {"loss": 1 / epoch}):
                        break
        assert len(tuner.trials) == tuner.space.size
        assert all(t.state is TrialState.FAILED for t in tuner.trials if t.number % 3)
        assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


class StrategyContract(FiniteStrategyContract):
    """The laws of a strategy; ``make`` returns it.

    Attributes:
        mixed_space: A space of ranges and categories.
    """

    mixed_space: ClassVar[Mapping[str, Any]] = {
        "eta": Continuous(1e-4, 1.0, scale="log"),
        "depth": Integer(1, 8),
        "kind": Categorical(["a", True, 1, 1.0, None]),
    }

    def search(self, seed: int, max_trials: int) -> Tuner:
        """Return a search of the mixed space."""
        return Tuner(self.mixed_space, LOSS, strategy=self.make(), seed=seed, max_trials=max_trials)

    def test_ranges_with_a_constraint_give_valid_configurations(self) -> None:
        """Of ranges, too, only valid configurations are tried."""
        space: Mapping[str, Any] = {"low": Continuous(0.0, 1.0), "high": Continuous(0.0, 1.0)}
        tuner = Tuner(space, LOSS, strategy=self.make(), seed=2, max_trials=16, valid="0.2 < high - low < 0.3")
        for trial in tuner:
            for epoch in range(trial.start_epoch + 1, self.epochs + 1):
                if trial.report(epoch, {"loss": trial.number / epoch}):
                    break
        assert len(tuner.trials) == 16
        assert all(tuner.space.accepts(t.params) for t in tuner.trials)

    def test_seed_fixes_every_suggestion(self) -> None:
        """The same seed makes the same search, another one another search."""
        assert run(self.search(0, 8), self.epochs) == run(self.search(0, 8), self.epochs)
        assert run(self.search(0, 8), self.epochs) != run(self.search(1, 8), self.epochs)

    def test_suggestions_are_inside_the_space(self) -> None:
        """Every value is one of its parameter's, with its type."""
        for params in run(self.search(0, 20), self.epochs):
            assert params.keys() == self.mixed_space.keys()
            assert all(is_value_of(self.mixed_space[name], value) for name, value in params.items())

    def test_conditional_parameters_are_there_when_they_are_active(self) -> None:
        """A parameter with a condition has a value only in the configurations that it is part of."""
        space: Mapping[str, Any] = {"kind": Categorical(["a", "b"]), "rate": Continuous(0.0, 1.0, when={"kind": "b"})}
        tuner = Tuner(space, LOSS, strategy=self.make(), seed=0, max_trials=10)
        for params in run(tuner, self.epochs):
            assert ("rate" in params) == (params["kind"] == "b")

    def test_budget_is_exact(self) -> None:
        """``max_trials`` trials are started, numbered from 0."""
        tuner = self.search(0, 7)
        assert len(run(tuner, self.epochs)) == 7
        assert [t.number for t in tuner.trials] == list(range(7))
        assert tuner.stop_reason == "max_trials=7 have been started"


class DrawsContract(StrategyContract):
    """The laws of a strategy whose configurations depend on the seed and the trial's number only, as ``Random``'s."""

    def test_draws_do_not_depend_on_results(self) -> None:
        """With many workers, too: every trial is asked for before the first reports."""
        sequential = run(self.search(5, 10), self.epochs)
        tuner = self.search(5, 10)
        at_once = [trial.params for _ in range(10) if (trial := tuner.ask()) is not None]
        assert at_once == sequential
        assert tuner.ask() is None
        assert not tuner.done


class StoppingRuleContract:
    """The laws of a stopping rule: ``Tuner(early_stopping=...)``; ``make`` returns it.

    Attributes:
        epochs: Epochs of a full training run.
        max_trials: How many trials a search has.
    """

    epochs: ClassVar[int] = 9
    max_trials: ClassVar[int] = 12
    space: ClassVar[Mapping[str, Any]] = {"floor": Continuous(0.0, 1.0), "speed": Continuous(0.1, 2.0)}

    def make(self) -> StoppingRule:
        """Return the rule; two calls return equal ones."""
        raise NotImplementedError(f"{type(self).__name__} must define make(self), which returns a stopping rule.")

    def search(self, **arguments: Any) -> Tuner:
        """Return a search that the rule judges."""
        return Tuner(
            self.space,
            LOSS,
            strategy=Random(),
            early_stopping=self.make(),
            max_trials=self.max_trials,
            seed=0,
            **arguments,
        )

    def train(self, tuner: Tuner, until: int | None = None) -> None:
        """Train curves that fall at different speeds; some are worse again in their second half."""
        for trial in tuner:
            if trial.number == until:
                break
            floor, speed = float(trial.params["floor"]), float(trial.params["speed"])  # type: ignore[arg-type]  # ranges
            for epoch in range(trial.start_epoch + 1, self.epochs + 1):
                late = 0.5 * (epoch > self.epochs // 2) * (trial.number % 2)
                if trial.report(epoch, {"loss": floor + epoch**-speed + late}):
                    break

    def test_rule_stops_some_training_runs(self) -> None:
        """It ends a training run of the made-up ones at least, and says by which rule."""
        tuner = self.search()
        self.train(tuner)
        stopped = [t for t in tuner.trials if t.state is TrialState.STOPPED]
        assert stopped
        assert all(t.stop_reason for t in stopped)
        assert len(stopped) < len(tuner.trials)

    def test_restart_decides_as_if_never_stopped(self, tmp_path: Path) -> None:
        """The decision depends on the history alone: a rule keeps no state."""
        uninterrupted = self.search()
        self.train(uninterrupted)
        for until in (2, 5, 9, None):
            last = self.search(storage=tmp_path / "study.db")
            self.train(last, until)
        assert [t.curve for t in last.trials] == [t.curve for t in uninterrupted.trials]
        assert [t.stop_reason for t in last.trials] == [t.stop_reason for t in uninterrupted.trials]

    def test_stored_rule_is_read_back(self, tmp_path: Path) -> None:
        """The storage keeps the rule by its name and its arguments."""
        self.search(storage=tmp_path / "study.db")
        store = self.search(storage=tmp_path / "study.db")  # no StudyMismatch: it is the same definition
        assert store._loop.session.config.early_stopping == self.make()
        assert Tuner.load(tmp_path / "study.db")._loop.session.config.early_stopping == self.make()

    def test_gaps_and_folds_are_judged_without_an_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """Epochs without the objective, failed trials and folds are part of a history."""
        tuner = self.search()
        for trial in tuner:
            worst = float("inf") if trial.number == 1 else trial.number / self.max_trials
            for fold in trial.folds(2):
                for epoch in range(1, self.epochs + 1):
                    metrics = {"other": 1.0} if epoch % 3 == 2 else {"loss": worst + 1 / epoch}
                    if fold.report(epoch, metrics):
                        break
        assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []
        assert len(tuner.trials) == self.max_trials
