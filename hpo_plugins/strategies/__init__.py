"""What to try next, and when to stop: one file a strategy."""

from hpo_plugins.strategies.base import Decision, Resume, Start, StoppingRule, Strategy, component_from_json
from hpo_plugins.strategies.bayesian import Bayesian
from hpo_plugins.strategies.grid import Grid
from hpo_plugins.strategies.hyperband import Hyperband
from hpo_plugins.strategies.max_ucb import Portfolio
from hpo_plugins.strategies.median_stopping import MedianRule
from hpo_plugins.strategies.random_search import Random

__all__ = [
    "Bayesian",
    "Grid",
    "Hyperband",
    "StoppingRule",
    "MedianRule",
    "Portfolio",
    "Random",
    "Resume",
    "Start",
    "Strategy",
    "Decision",
    "component_from_json",
]
