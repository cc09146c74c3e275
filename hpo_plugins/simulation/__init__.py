"""What a search would find before it is paid for: simulated on tasks that an earlier study's results allow."""

from hpo_plugins.simulation.result import Scenario, Simulation
from hpo_plugins.simulation.simulate import simulate

__all__ = ["Scenario", "Simulation", "simulate"]
