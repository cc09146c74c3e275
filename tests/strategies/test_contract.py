"""Our strategies keep the laws of every strategy: hpo_plugins/testing/strategies.py."""

import hpo_plugins as hpo
from hpo_plugins.testing import DrawsContract, FiniteStrategyContract, StoppingRuleContract, StrategyContract


class TestGrid(FiniteStrategyContract):
    def make(self):
        return hpo.Grid()


class TestRandom(DrawsContract):
    def make(self):
        return hpo.Random()


class TestHyperband(StrategyContract):
    def make(self):
        return hpo.Hyperband(max_resource=9)


class TestHyperbandRandom(DrawsContract):
    def make(self):
        return hpo.Hyperband(max_resource=9, search="random")


class TestHyperbandPause(StrategyContract):
    def make(self):
        return hpo.Hyperband(max_resource=9, pause=True)


class TestBayesian(StrategyContract):
    def make(self):
        return hpo.Bayesian()


class TestBayesianStop(StrategyContract):
    def make(self):
        return hpo.Bayesian(max_resource=9)


class TestBayesianPause(StrategyContract):
    def make(self):
        return hpo.Bayesian(max_resource=9, pause=True)


class TestMedianRule(StoppingRuleContract):
    def make(self):
        return hpo.MedianRule()
