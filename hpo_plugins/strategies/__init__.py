"""Strategies choose configurations and may judge training runs; stopping rules only judge. One file each."""

from hpo_plugins.records import Decision
from hpo_plugins.strategies.base import Component, Resume, Start, StoppingRule, Strategy, argument_names
from hpo_plugins.strategies.bayesian import Bayesian
from hpo_plugins.strategies.confirmation import Confirmation
from hpo_plugins.strategies.grid import Grid
from hpo_plugins.strategies.hyperband import Hyperband
from hpo_plugins.strategies.max_ucb import MaxUCB
from hpo_plugins.strategies.median_stopping import MedianRule
from hpo_plugins.strategies.random_search import Random

__all__ = [
    "Bayesian",
    "Component",
    "Confirmation",
    "Decision",
    "Grid",
    "Hyperband",
    "MaxUCB",
    "MedianRule",
    "Random",
    "Resume",
    "Start",
    "StoppingRule",
    "Strategy",
    "argument_names",
]
