import math

import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.exchange import export_optuna, import_studies

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")
STATES = {"COMPLETE": "completed", "PRUNED": "stopped", "FAIL": "failed"}


def study_in(path, *, at="last", first=0, direction="minimize", n=30, name="churn"):
    """A study of Optuna with ranges, categories, a condition, pruned and failed trials."""

    def objective(trial):
        eta = trial.suggest_float("eta", 1e-3, 1, log=True)
        depth = trial.suggest_int("depth", 2, 12)
        width = trial.suggest_int("width", 8, 512, log=True)
        rate = trial.suggest_float("rate", 0, 0.5)
        booster = trial.suggest_categorical("booster", ["tree", "dart", None, True, 3])
        drop = trial.suggest_float("drop", 0, 1) if booster in ("dart", 3) else 0.0
        if trial.number % 7 == 6:
            raise ZeroDivisionError("on purpose")
        values = []
        for step in range(first, first + 4):
            values.append(abs(math.log(eta)) + depth / width + rate + drop + 1 / (1 + step) + (step == first + 3) * 0.7)
            trial.report(values[-1], step)
            if trial.number % 5 == 4 and step == first + 1:
                raise optuna.TrialPruned
        return {"last": values[-1], "best": min(values), "other": 42.0 + trial.number}[at]

    memory, url = optuna.storages.InMemoryStorage(), f"sqlite:///{path}"
    study = optuna.create_study(
        storage=memory, study_name=name, direction=direction, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=n, catch=(ZeroDivisionError,))
    optuna.copy_study(from_study_name=name, from_storage=memory, to_storage=url)  # a commit costs it milliseconds
    return optuna.load_study(study_name=name, storage=url)


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("at", ["last", "best"])
def test_every_trial_value_state_and_intermediate_value_is_imported(at, first, tmp_path):
    study = study_in(tmp_path / "optuna.db", at=at, first=first)
    (found,) = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert found.remarks == ()
    tuner = hpo.Tuner.load(tmp_path / "tuning.db")
    assert tuner.name == "churn"
    assert tuner.objective == hpo.Minimize("value", at=at)
    assert len(tuner.trials) == len(study.trials)
    for ours, theirs in zip(tuner.trials, study.trials, strict=True):
        assert ours.params == theirs.params
        assert ours.state.value == STATES[theirs.state.name]
        assert ours.curve == {step + 1 - first: value for step, value in theirs.intermediate_values.items()}
        if theirs.state.name == "COMPLETE":
            assert ours.value == theirs.value
    completed = [trial for trial in tuner.trials if trial.state is hpo.TrialState.COMPLETED]
    assert min(completed, key=lambda trial: trial.value).number == study.best_trial.number  # without pruned ones


def test_space_is_that_of_the_distributions(tmp_path):
    study_in(tmp_path / "optuna.db")
    space = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner.space
    assert space["eta"] == hpo.Continuous(1e-3, 1, scale="log")
    assert space["depth"] == hpo.Integer(2, 12, scale="linear")
    assert space["width"] == hpo.Integer(8, 512, scale="log")
    assert space["rate"] == hpo.Continuous(0, 0.5, scale="linear")
    assert set(space["booster"].values) == {"tree", "dart", None, True, 3}
    assert dict(space["drop"].when) == {"booster": ("dart", 3)} or dict(space["drop"].when) == {"booster": (3, "dart")}


def test_value_that_is_no_intermediate_one_is_a_further_epoch(tmp_path):
    study = study_in(tmp_path / "optuna.db", at="other")
    tuner = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner
    for ours, theirs in zip(tuner.trials, study.trials, strict=True):
        if theirs.state.name == "COMPLETE":
            assert ours.value == theirs.value
            assert list(ours.curve.values()) == [*theirs.intermediate_values.values(), theirs.value]


def pruned_and_complete(path, *, chooses_last):
    """A study in which every configuration with a ``drop`` was pruned, before or after it had chosen its ``rate``."""

    def objective(trial):
        booster = trial.suggest_categorical("booster", ["tree", "dart"])
        if booster == "dart":
            trial.suggest_float("drop", 0, 1)
        if booster == "tree" or chooses_last:
            trial.suggest_float("rate", 0, 1)
        trial.report(1.0, 1)
        if booster == "dart":
            raise optuna.TrialPruned
        return 1.0

    study = optuna.create_study(storage=f"sqlite:///{path}", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=6)
    return len(study.trials)


@pytest.mark.parametrize("chooses_last", [True, False])
def test_parameters_of_pruned_trials_alone_are_kept(chooses_last, tmp_path):
    count = pruned_and_complete(tmp_path / "optuna.db", chooses_last=chooses_last)
    (found,) = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert found.remarks == ()
    assert len(found.tuner.trials) == count
    assert dict(found.tuner.space["drop"].when) == {"booster": ("dart",)}
    assert (found.tuner.space["rate"].when is None) == chooses_last


@pytest.mark.parametrize("at", ["last", "best", "other"])
@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.full)])
def test_export_of_an_import_is_the_original(at, first, tmp_path):
    study = study_in(tmp_path / "optuna.db", at=at, first=first)
    tuner = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner
    assert export_optuna(tuner, tmp_path / "back.db") == []
    back = optuna.load_study(study_name="churn", storage=f"sqlite:///{tmp_path / 'back.db'}")
    assert back.direction == study.direction
    for ours, theirs in zip(back.trials, study.trials, strict=True):
        assert (ours.number, ours.params, ours.state) == (theirs.number, theirs.params, theirs.state)
        assert ours.intermediate_values == theirs.intermediate_values
        if theirs.state.name != "PRUNED":
            assert ours.value == theirs.value
    kinds = {name: distribution for trial in study.trials for name, distribution in trial.distributions.items()}
    for trial in back.trials:
        for name, distribution in trial.distributions.items():
            if name != "booster":  # the same choices in the order in which they were found
                assert distribution == kinds[name]


def searched(storage, **arguments):
    tuner = hpo.Tuner(
        {
            "x": hpo.Continuous(1e-4, 1, scale="log"),
            "n": hpo.Integer(1, 9),
            "kind": hpo.Categorical(["a", "b", None]),
            "y": hpo.Continuous(0, 1, when={"kind": "b"}),
        },
        hpo.Maximize("score"),
        **{"strategy": hpo.Hyperband(max_resource=9, search="random"), "max_trials": 12, "seed": 0, "storage": storage}
        | arguments,
    )
    for trial in tuner:
        for epoch in range(1, 10):
            if trial.number == 3:
                trial.fail("on purpose")
                break
            if trial.report(epoch, {"score": trial["n"] - 1 / epoch}):
                break
    return tuner


def test_our_study_is_read_by_optuna_and_read_back(tmp_path):
    tuner = searched(tmp_path / "tuning.db", name="ours")
    command = ["export", str(tmp_path / "tuning.db"), "--format", "optuna", "-o", str(tmp_path / "optuna.db")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.study_name == "ours"
    assert study.direction.name == "MAXIMIZE"
    assert study.metric_names == ["score"]
    for ours, theirs in zip(tuner.trials, study.trials, strict=True):
        assert theirs.params == ours.params
        assert STATES[theirs.state.name] == ours.state.value
        assert theirs.intermediate_values == ours.curve
        assert theirs.value == ours.value
        assert theirs.user_attrs["number"] == ours.number
    assert study.best_value == tuner.best_trial.value
    study.sampler = optuna.samplers.TPESampler(seed=0)
    trial = study.ask(study.trials[0].distributions)  # the search continues there
    study.tell(trial, 1.0)
    command = ["import", str(tmp_path / "optuna.db"), "--to", str(tmp_path / "again.db")]
    result = CliRunner().invoke(main, command)
    assert result.output.startswith("Imported 'ours'"), result.output
    again = hpo.Tuner.load(tmp_path / "again.db")
    for ours, theirs in zip(tuner.trials, again.trials, strict=False):
        assert (ours.params, ours.curve, ours.state) == (theirs.params, theirs.curve, theirs.state)


def test_values_without_curves_have_no_steps_in_optuna(tmp_path):
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, seed=0)
    for trial in tuner:
        trial.report(1, {"loss": trial["x"]})
    export_optuna(tuner, tmp_path / "optuna.db")
    study = optuna.load_study(study_name="default", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert [trial.intermediate_values for trial in study.trials] == [{}, {}, {}]
    assert [trial.value for trial in study.trials] == [trial.value for trial in tuner.trials]
    with pytest.raises(hpo.StorageError, match="has a study 'default' already"):
        export_optuna(tuner, tmp_path / "optuna.db")


def test_imported_study_continues_and_guides_another(tmp_path):
    study_in(tmp_path / "optuna.db")
    tuner = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner
    trial = tuner.ask()
    assert trial.number == 30
    trial.report(1, {"value": 1.0})
    trial.end()
    child = hpo.Tuner(tuner.space, tuner.objective, max_trials=1, warm_start=[tuner], seed=0)
    for trial in child:
        trial.report(1, {"value": 2.0})
    assert child.trials[0].value == 2.0


def test_all_studies_of_a_file_keep_their_names(tmp_path):
    for name in ("a", "b"):
        study_in(tmp_path / "optuna.db", n=3, name=name)
    command = ["import", str(tmp_path / "optuna.db"), "--to", str(tmp_path / "tuning.db")]
    assert "Imported 'b'" in CliRunner().invoke(main, command).output
    assert list(hpo.studies(tmp_path / "tuning.db")) == ["a", "b"]
    result = CliRunner().invoke(main, command)
    assert "has a study 'a' already" in result.output
    assert CliRunner().invoke(main, [*command, "--study", "a", "--name", "c"]).exit_code == 0
    assert "study must be one of" in CliRunner().invoke(main, [*command, "--study", "z"]).output
    assert "name must be None for several" in CliRunner().invoke(main, [*command, "--name", "d"]).output


def test_journal_file_is_imported(tmp_path):
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="j")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    tuner = import_studies(tmp_path / "journal.log", tmp_path / "tuning.db")[0].tuner
    assert [trial.value for trial in tuner.trials] == [trial.value for trial in study.trials]


def test_waiting_trials_are_enqueued_steps_are_kept_and_running_trials_are_told(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="s")
    study.optimize(lambda trial: trial.suggest_int("n", 8, 64, step=8), n_trials=3)
    study.ask()
    study.enqueue_trial({"n": 16})
    (found,) = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert found.tuner.space["n"] == hpo.Integer(8, 64, scale="linear", step=8)
    assert any("1 trials were running" in remark for remark in found.remarks)


def test_steps_and_ordered_values_return_from_optuna(tmp_path):
    space = {
        "width": hpo.Integer(16, 500, step=16),
        "drop": hpo.Continuous(0, 1, step=0.05),
        "batch": hpo.Ordinal([16, 32, 64]),
    }
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=8, seed=0, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": trial["drop"] * trial["batch"]})
    export_optuna(tuner, tmp_path / "optuna.db")
    (found,) = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert [trial.params for trial in found.tuner.trials] == [trial.params for trial in tuner.trials]
    assert found.tuner.space["width"] == hpo.Integer(16, 496, scale="linear", step=16)
    assert found.tuner.space["drop"] == hpo.Continuous(0, 1, scale="linear", step=0.05)
    assert found.tuner.space["batch"] == hpo.Categorical([16, 32, 64])


def test_unexplained_absence_is_refused(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="s")
    study.optimize(
        lambda trial: trial.suggest_float("x", 0, 1) + (trial.suggest_float("y", 0, 1) if trial.number % 2 else 0),
        n_trials=4,
    )
    with pytest.raises(hpo.InvalidArgument, match="'y' is absent from trial 0"):
        import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    space = {"x": hpo.Continuous(0, 1)}
    with pytest.raises(hpo.InvalidArgument, match="'y' is absent"):
        import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db", space=space, study="s")


def test_several_objectives_and_constraints_come_and_go(tmp_path):
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'two.db'}", study_name="two", directions=["minimize", "maximize"]
    )
    study.set_metric_names(["loss", "accuracy"])

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("size", x - 0.5)
        return x if trial.number != 3 else math.inf, x**2

    study.optimize(objective, n_trials=12)
    (found,) = import_studies(tmp_path / "two.db", tmp_path / "tuning.db")
    tuner = found.tuner
    assert tuner.objectives == (hpo.Minimize("loss"), hpo.Maximize("accuracy"))
    assert tuner.constraints == (hpo.AtMost("size", 0),)
    assert tuner.trials[3].state is hpo.TrialState.FAILED
    kept = [t for t in tuner.trials if t.number != 3]
    assert [[t.values["loss"], t.values["accuracy"]] for t in kept] == [t.values for t in study.trials if t.number != 3]
    assert [t.feasible for t in kept] == [t.params["x"] <= 0.5 for t in kept]
    front = {t.number for t in study.best_trials if t.number != 3}
    assert {t.number for t in tuner.best_trials} == front
    export_optuna(tuner, tmp_path / "back.db")
    back = optuna.load_study(study_name="two", storage=f"sqlite:///{tmp_path / 'back.db'}")
    assert back.directions == study.directions
    assert [t.values for t in back.trials if t.number != 3] == [t.values for t in study.trials if t.number != 3]
    assert [t.constraints["size"] for t in back.trials if t.number != 3] == pytest.approx(
        [t.constraints["size"] for t in study.trials if t.number != 3]
    )
    tuner.enqueue({"x": 0.1})  # the search goes on


def test_infinite_values_fail_and_are_told(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) * (math.inf if trial.number == 1 else 1), n_trials=3)
    tuner = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner
    assert [trial.state.value for trial in tuner.trials] == ["completed", "failed", "completed"]
    assert "inf" in tuner.trials[1].error


def test_import_that_was_killed_is_repeated(tmp_path, monkeypatch):
    study_in(tmp_path / "optuna.db", n=8)
    from hpo_plugins.exchange import foreign

    done = []

    def dying(session, trial):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(add(session, trial))

    add = foreign.add
    monkeypatch.setattr(foreign, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert "churn" not in hpo.studies(tmp_path / "tuning.db")
    monkeypatch.setattr(foreign, "add", add)
    assert len(import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")[0].tuner.trials) == 8
    assert list(hpo.studies(tmp_path / "tuning.db")) == ["churn"]


def test_parameter_of_failed_trials_only_is_left_out(tmp_path):
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        if trial.number == 1:
            trial.suggest_float("never", 0, 1)
            raise ZeroDivisionError
        return x

    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="s")
    study.optimize(objective, n_trials=3, catch=(ZeroDivisionError,))
    (found,) = import_studies(tmp_path / "optuna.db", tmp_path / "tuning.db")
    assert list(found.tuner.space) == ["x"]
    assert len(found.tuner.trials) == 2
    assert "1 trials are no configurations of the space" in found.remarks[0]
