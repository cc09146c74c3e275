"""What the comparison of wall times counts."""

import pytest

wall_time = pytest.importorskip("benchmarks.costs.wall_time")
Watched = wall_time.Watched


def test_cpu_of_training_runs_is_that_between_their_begin_and_their_last_line():
    lines = [
        {"pid": 1, "cpu": 2.0, "begins": 1},
        {"pid": 2, "cpu": 7.0, "begins": 1},
        {"pid": 1, "cpu": 3.0, "loss": 0.5},
        {"pid": 1, "cpu": 4.0, "ends": 1},
        {"pid": 1, "cpu": 9.0, "begins": 1},
        {"pid": 2, "cpu": 7.5, "loss": 0.4},
        {"pid": 1, "cpu": 9.25, "loss": 0.3},
    ]
    assert wall_time.training_seconds(lines) == pytest.approx(2.0 + 0.5 + 0.25)


def test_the_goal_is_what_all_reach():
    found = {
        "ours": Watched([(1.0, 0.5), (4.0, 0.2), (6.0, 0.1)], 2, 3.0, 4.0),
        "ray": Watched([(3.0, 0.6), (9.0, 0.2)], 1, 1.0, 4.0),
    }
    rows = wall_time.table("xgboost", found).splitlines()[4:]
    assert rows[0].startswith("| ours | 0.1000 | 4 | 2 | 25% | 500 | +")
    assert rows[1].startswith("| ray | 0.2000 | 9 | 1 | 75% | 3000 | +")


@pytest.mark.parametrize("script", sorted(wall_time.SCRIPTS.glob("*_*.py")), ids=lambda path: path.stem)
def test_every_script_is_the_plain_one_and_little_more(script):
    framework, _, tool = script.stem.partition("_")
    added, removed = wall_time.changed(framework, tool)
    plain = len(wall_time.code(wall_time.SCRIPTS / f"{framework}_plain.py"))
    assert (added, removed) == (0, 0) if tool == "plain" else 0 < removed <= plain / 2 < plain < added + plain
