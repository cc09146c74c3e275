"""The JSON form of definitions: what is stored stays readable, and the fields are its only source."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import hpo_plugins as hpo
from hpo_plugins._fields import checked, evolve, frozen
from hpo_plugins._validation import whole_number
from hpo_plugins.space.parameters import PARAMETERS
from hpo_plugins.storage import open_storage
from hpo_plugins.strategies import Component, Confirmation, MaxUCB
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.confirmation import ClearlyBest
from hpo_plugins.study.stored import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Collection

DEFINITIONS = Path(__file__).with_name("definitions.jsonl").read_text(encoding="utf-8").splitlines()
"""A study of format 7, written by earlier code."""
STRATEGIES = [
    hpo.Hyperband(max_resource=81, pause=True),
    hpo.Random(),
    MaxUCB({"a": hpo.Grid(), "b": hpo.Bayesian(max_resource=9, pause=True, cost="epochs")}),
    hpo.Grid(),
    hpo.Random(),
    Confirmation(max_resource=9),
]


# Stored definitions.


@pytest.mark.parametrize("text", DEFINITIONS)
def test_stored_definition_loads_and_is_written_byte_for_byte(text):
    assert json.dumps(to_json(from_json(json.loads(text), StudyConfig))) == text


def test_stored_definitions_have_their_values():
    configs = [from_json(json.loads(text), StudyConfig) for text in DEFINITIONS]
    assert [config.strategy for config in configs] == STRATEGIES
    first, second, third, _, _, confirming = configs
    assert list(first.space.values()) == [
        hpo.Continuous(1e-3, 1.0, scale="log"),
        hpo.Continuous(0.0, 0.5),
        hpo.Integer(1, 5),
        hpo.Integer(-(10**40), 10, scale="linear"),
        hpo.Categorical(["a", 1, True, None, 1.0]),
        hpo.Continuous(0, 1, when={"k": ["a", None], "n": 2}),
        hpo.Categorical([False], when={"n": [1, 3]}),
    ]
    assert confirming.space.finalists == {0: {"x": 0.40994958858937025}, 3: {"x": 0.15343121904879808}}
    assert confirming.stop_when == (ClearlyBest(0.95),)
    assert first.space.fixed == {"fixed": "v", "also": 3}
    assert first.objective == hpo.Maximize("val_auc")
    assert first.stop_when == (hpo.TargetReached(1.0), hpo.NotImproving(5), hpo.Converged())
    assert (first.max_trials, first.max_runtime, first.max_parallel) == (40, 60.0, 2)
    assert first.points_to_evaluate == ({"x": 0.5}, {"n": 2, "k": True})
    assert first.notes == {"by": ["me", 1.5, None]}
    assert second.early_stopping == hpo.MedianRule(3)
    (parent,) = second.parents.studies
    assert (parent.name, second.parents.identical, parent.objective) == (
        "earlier",
        True,
        hpo.Minimize("loss", at="last"),
    )
    assert [(r.state.value, r.curve, r.value, r.ended_at) for r in parent.records] == [
        ("completed", {1: 0.5, 3: 0.25}, 0.25, 2.5),
        ("failed", {}, None, 2.5),
        ("stopped", {1: -1e-7}, -1e-7, 2.5),
        ("paused", {2: 7.0}, 7.0, None),
    ]
    assert [definition.objective.metric for definition in third.space.definitions.values()] == ["l", "e"]


def test_stored_definitions_have_every_kind_of_component_and_parameter():
    ours = [cls for cls in Component.registry.values() if cls.__module__.startswith("hpo_plugins.")]
    names = {cls.__name__ for cls in ours if not cls.__abstractmethods__}
    assert names == {name for name in names if any(f'"name": "{name}"' in text for text in DEFINITIONS)}
    assert all(any(f'"kind": "{cls.kind}"' in text for text in DEFINITIONS) for cls in PARAMETERS)


def test_definition_of_version_0_2_0_loads():
    text = DEFINITIONS[0].replace(', "cost": "auto"', "")
    assert text != DEFINITIONS[0]
    assert from_json(json.loads(text), StudyConfig) == from_json(json.loads(DEFINITIONS[0]), StudyConfig)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"kind": "integer"', '"kind": "whole"', r"Invalid value 'whole' - at `\$.space\['n'\].kind`"),
        ('"kind": "integer", ', "", r"Object missing required field `kind` - at `\$.space\['n'\]`"),
        ('"high": 5', '"high": "5"', r"Expected `int`, got `str` - at `\$.space\['n'\].high`"),
        ('"high": 5', '"high": 0', "low must be at most high, but got low=1 and high=0."),
        ('"k": ["a", null]', '"k": {}', r".*got `object` - at `\$.space\['c'\].when\[...\]`"),
        ('"Maximize"', '"Best"', r"Invalid value 'Best' - at `\$.objective.direction`"),
        ('"seed": 7, ', "", "Object missing required field `seed`"),
        ('"seed": 7', '"seed": -1', "seed must be a whole number of at least 0, but got seed=-1"),
        ('"stop_when": [', '"stop_when": {}, "other": [', r"Expected `array`, got `object` - at `\$.stop_when`"),
        ('"trials": 5', '"trials": "5"', "trials must be a whole number of at least 1, but got trials='5'"),
        ('"notes": {', '"also": {', "Object contains unknown field `also`"),
    ],
)
def test_damaged_part_is_named_with_its_place(old, new, message):
    assert old in DEFINITIONS[0]
    with pytest.raises(hpo.InvalidArgument, match=f"^{message}"):
        from_json(json.loads(DEFINITIONS[0].replace(old, new, 1)), StudyConfig)


def test_damaged_trial_of_a_parent_is_named_with_its_place():
    damaged = DEFINITIONS[1].replace("[3, 0.25]", '[3, "much"]')
    place = r"\$.parents.studies\[0\].trials\[0\].curve\[1\]\[1\]"
    with pytest.raises(hpo.InvalidArgument, match=f"Expected `float`, got `str` - at `{place}`"):
        from_json(json.loads(damaged), StudyConfig)


# Users' own strategies.


class Own(hpo.Strategy):
    def suggest(self, history, seed):
        return history.space.decode([0.25])


@dataclasses.dataclass(frozen=True)
class OwnDataclass(Own):
    rate: int
    max_resource: int | None = None
    share: float = 0.5
    levels: tuple[int, ...] = (1, 2)
    inner: hpo.Strategy = dataclasses.field(default_factory=hpo.Random)


@attrs.frozen
class OwnAttrs(Own):
    max_resource: int | None = 4
    levels: Sequence[int] = (1,)


@attrs.frozen(slots=False)
class OwnWithoutSlots(Own):
    max_resource: int | None = 4
    milestones: tuple[int, ...] = (2, 4)


@dataclasses.dataclass(frozen=True)
class OwnUnresolved(Own):
    levels: Collection[int] = ()


@dataclasses.dataclass(frozen=True)
class LosesFields(hpo.Bayesian):
    own: int = 1


@pytest.mark.parametrize(
    ("strategy", "form"),
    [
        (Own(), {"name": "Own"}),
        (
            OwnDataclass(5, 3, share=1),  # an int stays one, or the study would differ from itself
            {
                "name": "OwnDataclass",
                "rate": 5,
                "max_resource": 3,
                "share": 1,
                "levels": [1, 2],
                "inner": {"name": "Random"},
            },
        ),
        (OwnAttrs(9, levels=[7]), {"name": "OwnAttrs", "max_resource": 9, "levels": [7]}),
        (OwnWithoutSlots(9), {"name": "OwnWithoutSlots", "max_resource": 9, "milestones": [2, 4]}),
        (OwnUnresolved([1]), {"name": "OwnUnresolved", "levels": [1]}),
    ],
)
def test_users_own_strategy_is_stored_by_its_fields(strategy, form, tmp_path):
    space, loss = {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss")
    hpo.Tuner(space, loss, strategy=strategy, storage=tmp_path / "a.db")
    assert open_storage(tmp_path / "a.db").open("default", None).definition["strategy"] == form
    loaded = hpo.Tuner.load(tmp_path / "a.db").strategy
    assert loaded == strategy
    assert (loaded.max_resource, loaded.milestones) == (strategy.max_resource, strategy.milestones)
    assert hpo.Tuner(space, loss, strategy=strategy, storage=tmp_path / "a.db").ask().params == {"x": 0.25}


def test_fields_of_users_own_strategy_win_over_those_that_strategies_have():
    assert OwnWithoutSlots(9).max_resource == OwnDataclass(1, 9).max_resource == OwnAttrs(9).max_resource == 9
    assert (Own().max_resource, Own().milestones) == (None, ())


def test_dataclass_that_would_lose_fields_is_refused():
    with pytest.raises(
        hpo.InvalidArgument, match="LosesFields must not be a dataclass.* max_resource, pause, cost .*attrs"
    ):
        hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=LosesFields())


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "OwnDataclass"}, "OwnDataclass needs the argument 'rate'."),
        ({"name": "OwnAttrs", "other": 1}, "OwnAttrs has no argument 'other'; it has max_resource, levels."),
        ({"name": "Own", "other": 1}, "Own has no argument 'other'; it has none."),
        ({"name": ["Own"]}, "Expected `str`, got `array`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_damaged_form_of_users_own_strategy_is_refused(form, message):
    with pytest.raises(hpo.InvalidArgument, match=f"^{message}$"):
        from_json(form, hpo.Strategy)


# Fields.


@frozen()
class Later:
    first: int = checked(whole_number)
    second: int = checked(whole_number, at_least=1, default=3)
    third: int | None = checked(whole_number, default=None, kw_only=True)


def test_new_field_with_a_default_reads_older_studies():
    assert from_json({"first": 1}, Later) == Later(1, 3)
    assert to_json(Later(1)) == {"first": 1, "second": 3}  # a keyword only is absent while it has its default
    assert to_json(Later(1, third=2)) == {"first": 1, "second": 3, "third": 2}
    assert from_json({"first": 1, "second": 2, "third": 4}, Later) == Later(1, 2, third=4)


def test_copy_is_checked_and_the_original_cannot_be_changed():
    later = Later(1)
    assert evolve(later, second=7) == Later(1, 7)
    with pytest.raises(hpo.InvalidArgument, match="second must be a whole number of at least 1, but got second=0"):
        evolve(later, second=0)
    with pytest.raises(AttributeError, match=r"^(can't set attribute)?$"):
        later.first = 2
