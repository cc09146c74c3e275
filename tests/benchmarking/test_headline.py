"""The headline's page and its comparison, on small runs that are made up; the searches themselves, on a few."""

import json

import numpy as np
import pytest

from benchmarks.harness import headline_page as page
from benchmarks.harness import kept
from benchmarks.harness.kept import Kept, Search

METHODS = {"hyperband": 0.10, "random": 0.30, "optuna tpe + hyperband": 0.20, "neps hyperband": 0.15}
MEASURED = ("abc1234", "2030-01-02", "2 cores")


def searches(seeds, first=0, shift=0.0, methods=METHODS):
    made = []
    for seed in range(first, first + seeds):
        for number, (method, end) in enumerate(methods.items()):
            for problem, harder in {"p": 0.0, "q": 0.1}.items():
                noise = 0.01 * np.random.default_rng([seed, number, len(made)]).standard_normal()
                regrets = (np.linspace(1, 0, 20) ** 2 + end + harder + noise + shift * (method == "hyperband")).tolist()
                if method == "neps hyperband":
                    regrets[0] = 0.5
                search = Search("Small trainings", problem, method, seed)
                made.append(Kept(search, regrets, 0.5, 10, 3.0, f"{method.split()[0]} 1.0", MEASURED))
    return made


def test_a_regret_is_that_of_what_is_finished():
    one = searches(1)[0]._replace(regrets=[5.0, 4.0, 3.0, 2.0])
    assert [one.at(part) for part in (0.05, 0.25, 0.49, 0.5, 1.0)] == [5, 5, 5, 4, 2]


def test_a_page_is_read_back():
    found = searches(3)
    text = page.body(found)
    table = page.table_of(found)
    read = page.stored(text)
    assert read.keys() == {"Small trainings"}
    for method, row in table["Small trainings"].items():
        for part, cell in row.items():
            again = read["Small trainings"][method][part]
            assert again.mean == pytest.approx(cell.mean, abs=0.0006)
            assert again.error == pytest.approx(cell.error, abs=0.0006)
            assert again.freedom == cell.freedom == 4


def test_what_is_behind_comes_first():
    text = page.body(searches(2))
    behind, ranks = text.index("## Where this library is behind"), text.index("## Mean ranks")
    assert behind < ranks < text.index("## Small trainings")
    lines = [line for line in text[behind:ranks].splitlines() if line.startswith("| Small")]
    assert len(lines) == 1
    assert "| 5% | neps hyperband 0.5" in lines[0]
    ours_first = [line for line in text[ranks:].splitlines() if line.startswith("| hyperband |")]
    assert "1.0 (1.0-1.0)" in ours_first[0]


def test_nothing_behind_is_said():
    text = page.body(searches(2, methods={"hyperband": 0.1, "optuna tpe + hyperband": 0.3}))
    assert "Nowhere in the tables below." in text


def test_other_seeds_agree_and_another_search_does_not():
    stored = page.stored(page.body(searches(5)))
    same = page.compared(stored, page.table_of(searches(5, first=5)))
    assert same.differing == []
    assert same.shared == same.judged == 20
    other = page.compared(stored, page.table_of(searches(5, first=5, shift=0.1)))
    assert len(other.differing) == 5
    assert other.differing[0].startswith("Small trainings, hyperband at 5%: ")


def test_one_seed_is_not_judged():
    found = page.compared(page.stored(page.body(searches(1))), page.table_of(searches(3)))
    assert (found.shared, found.judged, found.differing) == (20, 0, [])


def test_methods_that_lack_problems_are_left_out():
    found = [each for each in searches(2) if (each.search.problem, each.search.method) != ("q", "random")]
    assert set(page.by_method(found, "Small trainings")) == set(METHODS) - {"random"}


def test_a_family_of_one_method_is_left_out():
    alone = [
        each._replace(search=each.search._replace(family="Real trainings"))
        for each in searches(1, methods={"random": 0.3})
    ]
    assert page.table_of(alone + searches(1)).keys() == {"Small trainings"}
    assert "Real trainings" not in page.body(alone + searches(1))
    with pytest.raises(SystemExit, match="nothing to compare"):
        page.conclude(alone, check=False, shown=True)


def test_a_check_says_what_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page.published, "RESULTS", tmp_path)
    page.conclude(searches(4), check=False, shown=False)
    assert (tmp_path / "headline.png").stat().st_size > 10_000
    with pytest.raises(SystemExit) as ended:
        page.conclude(searches(4, first=4), check=True, shown=False)
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        page.conclude(searches(4, first=4, shift=0.2), check=True, shown=False)
    assert ended.value.code == 1
    assert "hyperband at 100%" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="two seeds at least"):
        page.conclude(searches(1), check=True, shown=False)


def test_finished_searches_are_kept_and_a_cut_line_is_run_again(tmp_path):
    path, found = tmp_path / "runs.jsonl", searches(1)
    for each in found:
        kept.append(path, each)
    kept.append(path, found[0]._replace(seconds=9.0))
    text = path.read_text()
    path.write_text(text[:-20])  # killed while it wrote
    assert [each.search for each in kept.read(path)] == [each.search for each in found]
    kept.mended(path)
    kept.append(path, found[0]._replace(seconds=7.0))
    read = {each.search: each for each in kept.read(path)}
    assert len(read) == len(found)
    assert read[found[0].search].seconds == 7.0
    assert read[found[1].search].regrets == pytest.approx(found[1].regrets, abs=1e-5)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("{\n" + json.dumps(searches(1)[0]._asdict()) + "\n")
    with pytest.raises(SystemExit, match="line 1 is no JSON"):
        kept.read(path)
