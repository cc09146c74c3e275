"""Earlier studies as part of a new one: their visible trials, and the rules of compatibility."""

import json

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.study.stored import to_json
from hpo_plugins.study.termination import NotImproving

LOSS = hpo.Minimize("loss")
SPACE = {"x": hpo.Continuous(0, 1), "n": hpo.Integer(1, 9), "k": hpo.Categorical(["a", "b", "c"])}


def searched(space=SPACE, objective=LOSS, trials=6, name="parent", **arguments):
    """A study that is at rest."""
    tuner = hpo.Tuner(space, objective, max_trials=trials, seed=0, name=name, **arguments)
    for trial in tuner:
        for epoch in (1, 2):
            trial.report(epoch, {objective.metric: 0.1 * trial.number + 1.0 / epoch})
    return tuner


def child(parents, space=SPACE, objective=LOSS, *, identical=False, **arguments):
    warm_start = hpo.WarmStart(parents, identical=identical)
    return hpo.Tuner(space, objective, warm_start=warm_start, seed=1, name="child", **arguments)


def seen(tuner):
    return tuner._loop.history().parents


@pytest.mark.parametrize("identical", [True, False])
def test_parents_trials_are_seen_in_the_unit_cube(identical, storage):
    parent = searched()
    (group,) = seen(child([parent], identical=identical, storage=storage))
    assert (group.name, group.identical) == ("parent", identical)
    for record, trial in zip(parent.trials, group.trials, strict=True):
        assert np.array_equal(trial.point, Space(SPACE).encode(record.params))
        assert dict(zip(trial.curve.epochs, trial.curve.losses, strict=True)) == record.curve
        assert trial.state is record.state


def test_a_list_of_parents_guides(tmp_path):
    path = tmp_path / "parent.db"
    searched(storage=path, name="stored")
    tuner = hpo.Tuner(SPACE, LOSS, warm_start=[searched(), path])
    assert [(group.name, group.identical) for group in seen(tuner)] == [("parent", False), ("stored", False)]


def test_losses_follow_the_objective():
    parent = searched(objective=hpo.Maximize("auc"))
    (group,) = seen(child([parent], objective=hpo.Maximize("auc")))
    assert [trial.curve.loss(at="best") for trial in group.trials] == [-t.value for t in parent.trials]


def test_parents_are_as_they_were_when_the_study_was_made(tmp_path):
    """The parent continues, and is then deleted; the study and its restarts still see the first run's copy."""
    parent = searched(storage=tmp_path / "parent.db", trials=3)
    first = child([parent], storage=tmp_path / "child.db")
    before = [list(trial.point) for trial in seen(first)[0].trials]
    parent = searched(storage=tmp_path / "parent.db", trials=7)
    again = child([parent], storage=tmp_path / "child.db")
    (tmp_path / "parent.db").unlink()
    loaded = hpo.Tuner.load(tmp_path / "child.db")
    for tuner in (again, loaded):
        assert [list(trial.point) for trial in seen(tuner)[0].trials] == before
    json.dumps(to_json(loaded.study))


def test_other_parents_are_another_definition(tmp_path):
    child([searched()], storage=tmp_path / "a.db")
    with pytest.raises(hpo.StudyMismatch, match=r"parents.identical is True \(stored False\)"):
        child([searched()], storage=tmp_path / "a.db", identical=True)
    with pytest.raises(hpo.StudyMismatch, match=r"parents.studies is \['other'\] \(stored \['parent'\]\)"):
        child([searched(name="other")], storage=tmp_path / "a.db")
    with pytest.raises(hpo.StudyMismatch, match="parents is None"):
        hpo.Tuner(SPACE, LOSS, seed=1, name="child", storage=tmp_path / "a.db")


@pytest.mark.parametrize("identical", [True, False])
def test_best_trial_spans_identical_parents(identical, storage):
    parent = searched()
    tuner = child([parent], identical=identical, storage=storage, max_trials=2)
    if identical:
        assert (tuner.best_trial.parent, tuner.best_trial.number) == ("parent", 0)
        assert tuner.best_trial.value == parent.best_trial.value
    else:
        with pytest.raises(hpo.NothingReported, match="No trial of study 'child' has a value"):
            _ = tuner.best_trial
    for trial in tuner:
        trial.report(1, {"loss": 0.9 - trial.number})
    assert (tuner.best_trial.parent, tuner.best_trial.number) == (None, 1)


def test_summary_names_the_parent_of_the_best(storage):
    tuner = child([searched()], identical=True, max_trials=1, storage=storage)
    for trial in tuner:
        trial.report(1, {"loss": 3.0})
    assert "Best: trial 0 of 'parent', loss = 0.5 at epoch 2" in tuner.summary()


def test_identical_parents_count_for_the_criteria():
    parent = searched()
    assert child([parent], identical=True, stop_when=[hpo.TargetReached(0.6)]).done
    assert not child([parent], stop_when=[hpo.TargetReached(0.6)]).done
    tuner = child([parent], identical=True, stop_when=[NotImproving(7)])
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    assert len(tuner.trials) == 2  # five of the parent's came after its best


def test_trial_outside_the_new_ranges_only_guides():
    narrow = SPACE | {"x": hpo.Continuous(0, 0.5), "k": hpo.Categorical(["a", "b"])}
    parent = searched(trials=20)
    own, guides = seen(child([parent], narrow, identical=True))
    assert (own.identical, guides.identical) == (True, False)
    known = [t for t in parent.trials if t.params["k"] != "c"]
    assert len(own.trials) == sum(t.params["x"] <= 0.5 for t in known)
    assert len(guides.trials) == sum(t.params["x"] > 0.5 for t in known)
    assert {trial.point[0] for trial in guides.trials} == {1.0}  # clipped to the bound


def test_tuned_becomes_fixed_and_fixed_becomes_tuned():
    parent = searched(SPACE | {"m": hpo.Categorical(["0.5"])})
    space = Space({"x": SPACE["x"], "k": SPACE["k"], "m": hpo.Continuous(0, 1)}, fixed={"n": "3"})
    groups = seen(child([parent], space, identical=True))
    exact = [t for t in parent.trials if t.params["n"] == 3]
    assert sum(len(group.trials) for group in groups if group.identical) == len(exact)
    assert sum(len(group.trials) for group in groups) == len(parent.trials)
    assert all(trial.point[2] == 0.5 for group in groups for trial in group.trials)


def test_only_a_parents_own_trials_come(storage):
    grandparent = searched(name="grandparent")
    parent = hpo.Tuner(SPACE, LOSS, max_trials=2, seed=2, name="parent", warm_start=[grandparent])
    for trial in parent:
        trial.report(1, {"loss": 1.0})
    assert [len(group.trials) for group in seen(child([parent], storage=storage))] == [2]


WIDE = {f"k{index}": hpo.Categorical(list("abcdef")) for index in range(2)} | {"x": hpo.Continuous(0, 1)}


def narrowed(*names):
    return {name: hpo.Categorical(["a"]) if name in names else parameter for name, parameter in WIDE.items()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: child([]), "warm_start must have 1 to 5 parents, but got 0"),
        (lambda: child([searched()] * 6), "warm_start must have 1 to 5 parents, but got 6"),
        (lambda: hpo.Tuner(SPACE, LOSS, warm_start="a.db"), "warm_start must be a list of parents, but got .*'a.db'"),
        (lambda: hpo.WarmStart([searched()], identical="yes"), "identical must be True or False, but got .*'yes'"),
        (
            lambda: child([searched(objective=hpo.Minimize("error"))]),
            r"parents with the same objective, Minimize\(metric='loss', at='best'\), but 'parent' has .*'error'",
        ),
        (lambda: child([searched(objective=hpo.Maximize("loss"))]), "parents with the same objective"),
        (
            lambda: child([searched()], {"x": SPACE["x"], "n": SPACE["n"], "new": hpo.Integer(1, 2)}),
            r"the same hyperparameters, tuned or fixed, but 'parent' lacks \['new'\] and has \['k'\] besides. To fix",
        ),
        (
            lambda: child([searched()], SPACE | {"x": hpo.Integer(0, 1)}),
            r"hyperparameters have the same types, but 'x' is Integer\(.*\) here and Continuous\(.*\) in 'parent'",
        ),
        (lambda: child([searched()], SPACE | {"n": hpo.Categorical(["many"])}), "same types, but 'n' is 'many' here"),
        (
            lambda: child([searched(WIDE)], narrowed("k0", "k1")),
            r"at most 10 changes .* but 'parent' has 12 \(k0: 6, k1: 6\). Leave more of them tuned",
        ),
        (lambda: child(["no-such.db"]), "No storage at no-such.db"),
    ],
)
def test_each_rule_has_its_own_error(make, message):
    with pytest.raises(hpo.HpoError, match=message):
        make()


def test_ten_changes_are_allowed():
    parent = searched(WIDE | {f"s{i}": hpo.Categorical([i + 1]) for i in range(4)})
    space = narrowed("k0") | {f"s{i}": hpo.Categorical([-i]) for i in range(4)}
    (group,) = seen(child([parent], space, identical=True))
    assert not group.identical  # no trial is one of this space
    assert len(group.trials) == len(parent.trials)
    with pytest.raises(hpo.InvalidArgument, match="has 11"):
        child([searched(WIDE | {f"s{i}": hpo.Categorical([i + 1]) for i in range(5)})],
              narrowed("k0") | {f"s{i}": hpo.Categorical([-i]) for i in range(5)})  # fmt: skip


def test_parents_must_not_be_running(tmp_path):
    parent = hpo.Tuner(SPACE, LOSS, max_trials=3, name="parent", storage=tmp_path / "a.db")
    trial = parent.ask()
    with pytest.raises(hpo.InvalidArgument, match="without running trials, but trial 0 of 'parent' is running"):
        child([parent])
    trial.report(1, {"loss": 1.0})
    trial.end()
    assert len(seen(child([parent]))[0].trials) == 1


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("strategy", [hpo.Bayesian(), hpo.Bayesian(max_resource=9, pause=True)])
def test_restart_suggests_the_same_with_parents(strategy, identical, tmp_path):
    parent = searched(trials=12)

    def run(until=None, **arguments):
        tuner = child([parent], identical=identical, strategy=strategy, max_trials=10, **arguments)
        for handed, trial in enumerate(tuner):
            if handed == until:
                break  # before a report: it is given back
            for epoch in range(trial.start_epoch + 1, 10):
                if trial.report(epoch, {"loss": abs(trial["x"] - 0.3) + 1.0 / epoch}):
                    break
        return [record.params for record in tuner.trials]

    whole = run()
    run(4, storage=tmp_path / "a.db")
    assert run(storage=tmp_path / "a.db") == whole
    assert whole != [t.params for t in searched(trials=10).trials]


@pytest.mark.parametrize("strategy", [hpo.Bayesian(max_resource=27), hpo.Hyperband(max_resource=27)])
def test_what_was_good_for_a_parent_need_not_wait_for_others(strategy):
    tuner = child([searched()], strategy=strategy, max_trials=200)
    first = tuner.ask()
    for epoch in range(1, 27):
        if first.report(epoch, {"loss": 1.0 / epoch}):
            break
    assert "more results are needed" not in (tuner.trials[0].stop_reason or "")
