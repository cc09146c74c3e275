"""Measured figures have two homes, ``benchmarks/results/`` and ``docs/decisions/``; the benchmarks have one door."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        patch.setenv(variable, "1")  # the package limits the threads of its process, which are to stay as they are here
    from benchmarks.__main__ import named, overview
    from benchmarks.harness import published

DECISIONS = ROOT / "docs" / "decisions"
RESULTS = ROOT / "benchmarks" / "results"
SOURCES = sorted(path for folder in ("hpo_plugins", "integrations") for path in (ROOT / folder).rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"] + sorted(
    path for path in (ROOT / "docs").rglob("*.md") if not {"decisions", "_build"} & set(path.parts)
)
NUMBER = r"(?<![\w.])0?\.\d{2,3}(?![\w.]*\d)"
FIGURES = {
    "regrets in a row": re.compile(rf"{NUMBER}(?:,? (?:and )?(?:\(\d+\) )?{NUMBER})+"),
    "a regret without its zero": re.compile(r"(?<![\w./\d])\.\d{2,3}\b"),
    "a measured time": re.compile(
        r"\b\d[\d.,]* ?(?:ms|µs|us)\b|\b(?:took|takes?|taking|in under) (?:\w+ ){0,3}\d[\d.,]* ?s\b"
    ),
    "measured memory": re.compile(r"\b\d[\d.,]* ?(?:[kKMG]B)\b"),
    "a regret": re.compile(r"\bregrets?\b[^.|]{0,60}\b0?\.\d"),
}
DIARY = re.compile(r"\b(?:earlier|before the|since then|once more|was wanted|were wanted|at first)\b", re.IGNORECASE)
CITED = re.compile(r"\bdecisions?[/ ](\d{4})\b")


def figures(text):
    """Return the measured figures in a text, each with its kind."""
    return [(kind, found[0]) for kind, pattern in FIGURES.items() for found in pattern.finditer(text)]


def prose(page):
    """Return a page without its blocks of code, pictures and generated tables."""
    text = re.sub(r"<!-- headline.*?<!-- end -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"```.*?```|!\[[^\]]*\]\([^)]*\)", "", text, flags=re.DOTALL)


def words(path):
    """Return the comments of a module, and its docstrings, those of attributes included."""
    text = path.read_text(encoding="utf-8")
    comments = [
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    ]
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return "\n".join([*comments, *(re.sub(r"\s+", " ", string) for string in strings)])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("it was .281 .167 .109 .052 then", "regrets in a row"),
        ("regrets of 0.281, 0.167 and 0.109", "regrets in a row"),
        ("has .05 left at the end", "a regret without its zero"),
        ("the regret after 50 evaluations is 0.134", "a regret"),
        ("a report at a rung took 3.5 ms", "a measured time"),
        ("costs about 20 us per call", "a measured time"),
        ("SQLAlchemy takes 0.2 s to import", "a measured time"),
        ("held 26 MB after 10,000 trials", "measured memory"),
        ("they took 2.6 kB each", "measured memory"),
    ],
)
def test_a_measured_figure_is_found(text, kind):
    assert kind in [found for found, _ in figures(text)]


@pytest.mark.parametrize(
    "text",
    [
        "its lease of 60 s ends",
        "hpo.Continuous(0.5, 0.99)",
        "with probability 0.05",
        "at least once in 0.5 seconds",
        "SQLAlchemy 2.0.28 and 1.15",
        "improved by less than 1 %",
        "files *.db and a.py",
    ],
)
def test_a_constant_is_no_measured_figure(text):
    assert figures(text) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_code_has_no_measured_figure(path):
    assert figures(words(path)) == [], "Move it to docs/decisions/ and cite the decision's number."


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_has_no_measured_figure(page):
    assert figures(prose(page)) == [], "Move it to benchmarks/results/ or docs/decisions/ and link to it."


def test_comments_are_read():
    assert "SQLAlchemy is slow to import" in words(ROOT / "hpo_plugins" / "storage" / "__init__.py")


def test_every_decision_cited_exists():
    there = {path.name[:4] for path in DECISIONS.glob("[0-9]*.md")}
    cited = {}
    for folder in ("hpo_plugins", "integrations", "tests", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md") and "_build" not in path.parts:
                for number in CITED.findall(path.read_text(encoding="utf-8")):
                    cited.setdefault(number, path)
    assert len(cited) > 15
    assert {number: path for number, path in cited.items() if number not in there} == {}


def test_decisions_are_numbered_and_listed():
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    listed = re.findall(r"^\d{4}-[\w-]+$", (DECISIONS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [page.stem for page in pages]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]}. "), page
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Question", "What was tried", "Decision"], page


def test_the_readme_of_the_benchmarks_is_short_and_no_diary():
    text = published.README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert DIARY.findall(text) == []


def test_its_tables_are_those_of_the_results():
    text = published.README.read_text(encoding="utf-8")
    assert published.with_headlines(text) == text, "python -m benchmarks report"
    assert text.count("| bayesian, stop |") == 2


def test_a_headline_names_ours_and_the_best_peers():
    page = "| method | @10% | @100% |\n|---|---|---|\n" + "\n".join(
        f"| {name} | 0.5 | {end} ± 0.1 |"
        for name, end in [("peer c", 0.4), ("hyperband", 0.3), ("hyperband", 0.9), ("oracle: x", 0.1)]
        + [(f"peer {k}", 0.5 + k / 10) for k in range(6)]
    )
    lines = published.headline("lcbench", page).splitlines()[2:]
    shown = [line.split("|")[1].strip() for line in lines]
    assert shown == ["hyperband", "peer c", "peer 0", "peer 1", "peer 2"]
    assert "0.3 ± 0.1" in lines[0]  # the first row of a method counts


@pytest.mark.parametrize("page", sorted(set(RESULTS.glob("*.md")) - {RESULTS / "README.md"}), ids=lambda p: p.stem)
def test_a_result_says_with_which_commit_when_where_and_how(page):
    text = page.read_text(encoding="utf-8")
    heads = re.findall(r"^\| commit \| date \| machine \| command \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    assert heads
    for line in "".join(heads).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 4, line
        assert re.fullmatch(r"`[0-9a-f]{7,}( with changes)?`", cells[0]), line
        assert re.fullmatch(r"(by )?\d{4}-\d\d-\d\d", cells[1]), line
        assert cells[2], line
        assert cells[3].startswith("`python "), line
    index = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert f"({page.name})" in index


def test_a_published_result_has_the_head(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    measured = [["abc1234", "2030-01-02", "2 cores"], ["def5678", "2030-01-03", "3 cores"]]
    text = published.publish("x", "A title", "python -m benchmarks x", "| a |\n|---|\n| 1 |", measured).read_text()
    assert text.startswith(
        "# A title\n\n| commit | date | machine | command |\n|---|---|---|---|\n| `abc1234` | 2030-01-02"
    )
    assert "| `def5678` | 2030-01-03 | 3 cores | `python -m benchmarks x` |\n\n| a |" in text
    plain = published.publish("y", "Lines", "python -m benchmarks y", "1 2\n3 4").read_text()
    assert plain.endswith("\n\n```text\n1 2\n3 4\n```\n")


def test_every_benchmark_has_a_main_and_a_line():
    for name, benchmark in named().items():
        module = ROOT / "benchmarks" / (benchmark.module.replace(".", "/") + ".py")
        functions = [node.name for node in ast.parse(module.read_text(encoding="utf-8")).body if hasattr(node, "name")]
        assert "main" in functions, name
        assert f"  {name} " in overview()
    reached = {benchmark.module for benchmark in named().values()}
    for path in (ROOT / "benchmarks").rglob("*.py"):
        if path.name != "__main__.py" and "\ndef main(" in path.read_text(encoding="utf-8"):
            assert ".".join(path.relative_to(ROOT / "benchmarks").with_suffix("").parts) in reached


def test_the_door_runs_a_benchmark_and_names_the_nearest():
    def door(*arguments):
        command = [sys.executable, "-m", "benchmarks", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert "trajectories" in door().stdout
    ended = door("trajectories", "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: python -m benchmarks")
    assert "{record,compare}" in ended.stdout
    ended = door("trajectory")
    assert ended.returncode == 1
    assert "Did you mean 'trajectories'?" in ended.stderr
