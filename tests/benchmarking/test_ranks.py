"""Mean ranks: closed forms, and a bootstrap in plain loops beside."""

import numpy as np
import pytest
from scipy.stats import binom, rankdata

from benchmarks.harness.ranks import bootstrapped, mean_ranks


def test_who_always_wins_has_rank_one_without_doubt():
    ranks = mean_ranks({"a": {"p": [0.1, 0.2], "q": [0.3]}, "b": {"p": [0.4, 0.3], "q": [0.5]}})
    assert ranks == {"a": (1, 1, 1), "b": (2, 2, 2)}
    assert str(ranks["a"]) == "1.0 (1.0-1.0)"


def test_equal_methods_share_a_rank():
    assert mean_ranks({name: {"p": [0.5]} for name in "abc"})["b"] == (2, 2, 2)


def test_with_one_seed_the_bootstrap_is_binomial():
    problems = [f"p{number}" for number in range(10)]
    losses = 3  # of a, which has rank 2 there
    regrets = {
        "a": {problem: [float(number < losses)] for number, problem in enumerate(problems)},
        "b": {problem: [0.5] for problem in problems},
    }
    rank = mean_ranks(regrets, draws=4000)["a"]
    law = binom(10, losses / 10)
    assert rank.mean == pytest.approx(1.3)
    assert rank.low == pytest.approx(1 + law.ppf(0.025) / 10)
    assert rank.high == pytest.approx(1 + law.ppf(0.975) / 10)
    drawn = bootstrapped(regrets, problems, 4000, np.random.default_rng(0))[:, 0]
    assert drawn.std() == pytest.approx(law.std() / 10, rel=0.05)


def slowly(regrets, problems, draws, rng):
    found = []
    for _ in range(draws):
        rows = []
        for problem in rng.choice(problems, len(problems)):
            rows.append([np.mean(rng.choice(seeds[problem], len(seeds[problem]))) for seeds in regrets.values()])
        found.append(rankdata(rows, axis=1).mean(axis=0))
    return np.array(found)


def test_the_bootstrap_is_that_of_plain_loops():
    rng = np.random.default_rng(3)
    problems = ["p", "q", "r", "s"]
    regrets = {
        name: {problem: rng.random(4) + shift for problem in problems}
        for name, shift in zip("abc", (0, 0.1, 0.4), strict=True)
    }
    fast, slow = (draw(regrets, problems, 3000, np.random.default_rng(1)) for draw in (bootstrapped, slowly))
    assert fast.mean(axis=0) == pytest.approx(slow.mean(axis=0), abs=0.03)
    assert fast.std(axis=0) == pytest.approx(slow.std(axis=0), rel=0.08)
    assert np.quantile(fast, (0.025, 0.975), axis=0) == pytest.approx(
        np.quantile(slow, (0.025, 0.975), axis=0), abs=0.13
    )


def test_methods_on_different_problems_are_not_ranked():
    with pytest.raises(ValueError, match="'b' was not run on the same problems as 'a'"):
        mean_ranks({"a": {"p": [1.0]}, "b": {"q": [1.0]}})
    with pytest.raises(ValueError, match="no regrets"):
        mean_ranks({})
