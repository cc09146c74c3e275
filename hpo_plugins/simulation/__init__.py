"""Simulate searches before you pay for them, on tasks that are consistent with an earlier study's results."""

from hpo_plugins.simulation.result import Scenario, Simulation
from hpo_plugins.simulation.simulate import simulate

__all__ = ["Scenario", "Simulation", "simulate"]
