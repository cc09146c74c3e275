"""The work of one loop iteration, counted rather than timed: it must not depend on the size of the study."""

import pytest
from support import session_of

import hpo_plugins as hpo
from hpo_plugins.history import History
from hpo_plugins.objective import Objective
from hpo_plugins.space import DefinitionSpace, Space, TrainingDefinition
from hpo_plugins.storage.engine import Database
from hpo_plugins.strategies.max_ucb import MaxUCB
from hpo_plugins.study.termination import TargetReached


def turn(tuner):
    trial = tuner.ask()
    for epoch in (1, 2, 3):
        trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
    trial.end()


def make_tuner(**arguments):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, **arguments)


def test_turn_reads_twice_and_writes_twice_beside_its_reports(tmp_path, monkeypatch):
    tuner = make_tuner(storage=tmp_path / "study.db")
    turn(tuner)
    transactions = []
    for kind in ("read", "write"):
        original = getattr(Database, kind)

        def counted(self, *arguments, kind=kind, original=original, **keywords):
            transactions.append(kind)
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(Database, kind, counted)
    turn(tuner)
    assert transactions == ["read", "write", "write", "write", "write", "read", "write"]


@pytest.mark.parametrize("at", ["best", "last"])
def test_turn_looks_at_as_few_trials_in_a_large_study(at, monkeypatch):
    def looks(trials):
        tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss", at=at), seed=0)
        for _ in range(trials):
            turn(tuner)
        looked = []
        original = History.loss
        with monkeypatch.context() as patch:
            patch.setattr(History, "loss", lambda self, number: looked.append(number) or original(self, number))
            for _ in range(5):
                turn(tuner)
        return len(looked) / 5

    assert looks(200) <= 2 * looks(10)


def test_report_looks_at_as_few_trials_in_a_large_study_with_several_definitions(monkeypatch):
    def looks(trials):
        space = DefinitionSpace(
            [TrainingDefinition(name, Space({"x": hpo.Continuous(0, 1)}), hpo.Minimize("loss")) for name in "ab"]
        )
        strategy = MaxUCB({name: hpo.Hyperband(max_resource=3, search="random") for name in "ab"})
        tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, seed=0)
        for _ in range(trials):
            turn(tuner)
        looked = []
        original = DefinitionSpace.definition_of
        trial = tuner.ask()
        with monkeypatch.context() as patch:
            patch.setattr(DefinitionSpace, "definition_of", lambda *of: looked.append(1) or original(*of))
            for epoch in (1, 2, 3):
                trial.report(epoch, {"loss": 1.0})
        return len(looked)

    assert looks(100) <= 2 * looks(10)


def test_criterion_is_evaluated_once_per_ask(monkeypatch):
    tuner = make_tuner(stop_when=[hpo.TargetReached(-1.0)])
    turn(tuner)
    asked = []
    original = TargetReached.met
    monkeypatch.setattr(TargetReached, "met", lambda self, history: asked.append(1) or original(self, history))
    tuner.ask()
    assert len(asked) == 1


def test_objective_of_a_trial_is_resolved_once(monkeypatch):
    tuner = make_tuner()
    config = session_of(tuner).config
    resolved = []
    original = type(config).objective_of
    monkeypatch.setattr(
        type(config), "objective_of", lambda self, definition: resolved.append(1) or original(self, definition)
    )
    trial = tuner.ask()
    for epoch in range(1, 10):
        trial.report(epoch, {"loss": 1 / epoch})
    assert len(resolved) == 1
    assert isinstance(trial.objective, Objective)
