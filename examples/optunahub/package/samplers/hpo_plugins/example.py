"""Minimise a function of two parameters with the suggestions of hpo-plugins."""

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a trial."""
    x = trial.suggest_float("x", -5, 5)
    y = trial.suggest_float("y", 1e-3, 10, log=True)
    return (x - 1) ** 2 + (y - 0.1) ** 2


module = optunahub.load_module("samplers/hpo_plugins")
study = optuna.create_study(sampler=module.HpoPluginsSampler(seed=0))
study.optimize(objective, n_trials=30)
print(study.best_params, study.best_value)
