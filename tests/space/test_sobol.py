"""Sobol points: our own are SciPy's, and a new process draws its first configurations without SciPy."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import qmc

from hpo_plugins.space.sobol_points import MAX_DIMENSIONS, SobolPoints


@pytest.mark.parametrize("dimensions", [1, 2, 7, MAX_DIMENSIONS, MAX_DIMENSIONS + 1])
@pytest.mark.parametrize("seed", [0, 7, 2**32])
def test_points_are_scipys_in_blocks_of_any_size(dimensions, seed):
    ours, scipys = SobolPoints(dimensions, seed), qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    for count in (1, 1, 2, 256, 4096, 3):
        np.testing.assert_array_equal(ours.random(count), scipys.random(count))
    assert ours.num_generated == scipys.num_generated


FIRST_TRIALS = """
import sys
import hpo_plugins as hpo

space = {"eta": hpo.Continuous(1e-3, 1.0, scale="log"), "depth": hpo.Integer(1, 8)}
for strategy in (hpo.Random(), hpo.Bayesian(), hpo.Hyperband(max_resource=9)):
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, max_trials=9, storage=sys.argv[1])
    for _ in range(4):
        tuner.ask()
    tuner.stop()
    sys.argv[1] += "-next"
sys.exit("scipy" in sys.modules)
"""


def test_first_trials_of_a_process_need_no_scipy(tmp_path):
    """Its import would take longer than all else before the first training run (docs/decisions/0040)."""
    subprocess.run([sys.executable, "-c", FIRST_TRIALS, tmp_path / "study.db"], check=True)
