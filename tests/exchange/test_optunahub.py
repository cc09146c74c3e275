"""The sampler in OptunaHub's form, with the real Optuna."""

import copy
import importlib.util
from pathlib import Path

import pytest

import hpo_plugins as hpo

optuna = pytest.importorskip("optuna")
FOLDER = Path(__file__).parent.parent.parent / "examples" / "optunahub" / "package" / "samplers" / "hpo_plugins"


@pytest.fixture(scope="module")
def sampler_type():
    spec = importlib.util.spec_from_file_location("samplers_hpo_plugins", FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.HpoPluginsSampler


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def everything(trial):
    rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    share = trial.suggest_float("share", 0.0, 1.0, step=0.25)
    units = trial.suggest_int("units", 8, 64, step=8)
    depth = trial.suggest_int("depth", 1, 100, log=True)
    kind = trial.suggest_categorical("kind", ["a", True, None, 3])
    trial.suggest_int("fixed", 5, 5)
    return abs(rate - 0.1) + share + units / 64 + depth / 100 + (kind != "a")


def test_every_kind_of_parameter_is_searched(sampler_type):
    study = optuna.create_study(sampler=sampler_type(seed=1))
    study.optimize(everything, n_trials=14)  # Optuna checks each value against its range
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == 14
    chosen = [tuple(trial.params.values()) for trial in study.trials[1:]]
    assert len(set(chosen)) == len(chosen)


def test_it_finds_what_random_draws_do_not(sampler_type):
    def loss(trial):
        return sum((trial.suggest_float(name, -5, 5) - 1) ** 2 for name in "xyz")

    found = {}
    for name, sampler in {"ours": sampler_type(seed=0), "random": optuna.samplers.RandomSampler(seed=0)}.items():
        study = optuna.create_study(sampler=sampler)
        study.optimize(loss, n_trials=25)
        found[name] = study.best_value
    assert found["ours"] < 0.2 * found["random"]


def test_maximising_is_minimising_the_negative(sampler_type):
    def params(direction, sign):
        study = optuna.create_study(direction=direction, sampler=sampler_type(seed=3))
        study.optimize(lambda trial: sign * (trial.suggest_float("x", 0, 1) - 0.3) ** 2, n_trials=8)
        return [trial.params["x"] for trial in study.trials]

    assert params("maximize", -1) == pytest.approx(params("minimize", 1))


def test_the_same_seed_suggests_the_same_after_a_restart(sampler_type, tmp_path):
    def loss(trial):
        return trial.suggest_float("x", 0, 1) ** 2 + trial.suggest_float("y", 0, 1)

    def params(restarts):
        storage, independent = f"sqlite:///{tmp_path}/{restarts}.db", optuna.samplers.RandomSampler(seed=0)
        for _ in range(restarts):
            sampler = sampler_type(seed=5, independent_sampler=independent)
            study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True, sampler=sampler)
            study.optimize(loss, n_trials=8 // restarts)
        return [trial.params for trial in study.trials]

    assert params(1) == params(4)


def test_conditions_hold_if_the_space_is_given(sampler_type):
    space = {
        "model": hpo.Categorical(["tree", "net"]),
        "depth": hpo.Integer(1, 10, scale="linear", when={"model": "tree"}),
        "rate": hpo.Continuous(1e-3, 1.0, scale="log", when={"model": "net"}),
    }

    def loss(trial):
        if trial.suggest_categorical("model", ["tree", "net"]) == "tree":
            return trial.suggest_int("depth", 1, 10)
        return 0.5 * trial.suggest_float("rate", 1e-3, 1.0, log=True)

    sampler = sampler_type(space, seed=0, independent_sampler=Refusing())
    study = optuna.create_study(sampler=sampler)
    study.optimize(loss, n_trials=16)
    assert {trial.params["model"] for trial in study.trials} == {"tree", "net"}
    assert study.best_trial.params["model"] == "net"


class Refusing(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, param_name, param_distribution):
        raise AssertionError(f"{param_name} was not suggested with the others")


def test_without_a_space_conditional_parameters_are_drawn(sampler_type):
    def loss(trial):
        x = trial.suggest_float("x", 0, 1)
        return x if trial.suggest_categorical("kind", ["a", "b"]) == "a" else x + trial.suggest_float("more", 0, 1)

    study = optuna.create_study(sampler=sampler_type(seed=0))
    study.optimize(loss, n_trials=12)
    assert any("more" in trial.params for trial in study.trials)
    assert study.best_value < 0.1


def test_pruned_and_failed_trials_are_learned_from(sampler_type):
    def loss(trial):
        x = trial.suggest_float("x", 0, 1)
        if 0.4 < x < 0.45:
            raise ValueError(x)
        for step in range(6):
            trial.report(x + 1 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x + 1 / 6

    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    sampler = sampler_type(seed=0)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(loss, n_trials=20, catch=(ValueError,))
    states = [trial.state for trial in study.trials]
    assert optuna.trial.TrialState.PRUNED in states
    # What the strategy is told is what the study has.
    tuner = sampler._tuner(study, {"x": hpo.Continuous(0, 1, scale="linear")})
    for trial in study.trials:
        sampler._replay(tuner, trial, {"x"})
    pairs = {"COMPLETE": "COMPLETED", "PRUNED": "STOPPED", "FAIL": "FAILED"}
    assert [trial.state.name for trial in tuner.trials] == [pairs[state.name] for state in states]
    assert tuner.trials[0].curve == {step + 1: study.trials[0].params["x"] + 1 / (step + 1) for step in range(6)}
    assert study.best_value < 0.05 + 1 / 6


def test_trials_that_run_at_once_differ(sampler_type):
    def given(n):
        study = optuna.create_study(sampler=sampler_type(seed=0))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=5)
        return [study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}).params["x"] for _ in range(n)]

    chosen = given(4)
    assert len(set(chosen)) == 4
    assert given(4) == pytest.approx(chosen)


def test_threads_share_a_sampler(sampler_type):
    study = optuna.create_study(sampler=sampler_type(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 1, 9), n_trials=16, n_jobs=4)
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.COMPLETE] * 16
    assert study.sampler._suggested == {}


def test_a_used_up_space_is_left_to_optuna(sampler_type):
    study = optuna.create_study(sampler=sampler_type(seed=0))
    study.optimize(lambda trial: trial.suggest_int("n", 1, 3), n_trials=6)
    assert {trial.params["n"] for trial in study.trials} == {1, 2, 3}


def test_a_copy_suggests_the_same(sampler_type):
    def params(sampler):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        return [trial.params for trial in study.trials]

    sampler = sampler_type(seed=0)
    assert params(copy.deepcopy(sampler)) == params(sampler)  # by the methods that pickle uses


def test_what_it_cannot_do_is_said(sampler_type):
    with pytest.raises(ValueError, match="must leave the end of training runs to the pruner"):
        sampler_type(strategy=hpo.Hyperband(max_resource=9))
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler_type(seed=0))
    with pytest.raises(ValueError, match="one objective, but this one has 2"):
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=2)
