"""The first pages: their code runs, their figures are those of the results, and every page leads on."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import hpo_plugins as hpo

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
INDEX = (DOCS / "index.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "HPO_PLUGINS_PROGRESS": "off"}
SVG = "{http://www.w3.org/2000/svg}"


def tabs():
    """Return the code of each tab by its name: before, after, and which lines of the latter are marked."""
    found = {}
    for name, tab in re.findall(r"^::::\{tab-item\} (\w+)\n(.*?)^::::$", INDEX, re.DOTALL | re.MULTILINE):
        before, after = re.findall(r"^~~~\{code-block\} python\n(.*?)^~~~$", tab, re.DOTALL | re.MULTILINE)
        head, _, after = after.partition("\n")
        marked = [int(number) for number in head.removeprefix(":emphasize-lines: ").split(", ")]
        imports = re.findall(r"`((?:import|from) [^`]+)`", tab)
        found[name] = before, after, marked, imports
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", ["XGBoost", "Keras", "Lightning"])
def test_code_of_the_first_page_runs(name, tmp_path):
    pytest.importorskip(name.lower())
    before, after, _, imports = tabs()[name]
    script = tmp_path / "tab.py"
    script.write_text("\n".join([before, *imports, after.replace("max_trials=20", "max_trials=3")]))
    ended = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.parametrize("name", ["XGBoost", "Keras", "Lightning"])
def test_marked_lines_are_the_three_that_change_the_training(name):
    before, after, marked, _ = tabs()[name]
    assert len(marked) == 3
    lines = after.splitlines()
    for line, part in zip((lines[number - 1] for number in marked), ("for trial in", None, None), strict=True):
        assert part is None or part in line
    told = "\n".join(lines[number - 1] for number in marked)
    assert "trial.params" in told
    assert "TrialCallback(trial)" in told
    kept = {line.strip() for line in before.splitlines()}
    training = lines[marked[0] :]
    changed = [line for number, line in enumerate(training, marked[0] + 1) if number not in marked]
    assert [line for line in changed if line.strip() not in kept and not re.fullmatch(r"[\s()]*", line)] in (
        [],
        ["    trainer = L.Trainer("],
    )


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_figures_of_the_first_pages_are_those_of_the_results(page):
    figures = runpy.run_path(str(DOCS / "figures.py"))
    text = (ROOT / page).read_text(encoding="utf-8")
    assert figures["with_figures"](text, figures["HOMES"][ROOT / page]) == text, "python docs/figures.py"
    block = text.partition("<!-- figures -->")[2].partition("<!-- end of figures -->")[0]
    assert len(re.findall(r"^- .*\*\*", block, re.MULTILINE)) == 3


def test_figures_change_with_the_results(tmp_path):
    figures = runpy.run_path(str(DOCS / "figures.py"))
    table = "| method | problems x seeds | @5% | @10% | @25% | @50% | @100% |\n|---|---|---|---|---|---|---|\n"
    (tmp_path / "headline.md").write_text(
        f"\n## Real trainings\n\n{table}"
        "| hyperband | 4 x 10 | 0.4 | 0.3 | 0.2 | 0.1 | 0.06 ± 0.01 |\n"
        "| smac | 4 x 2 | 0.4 | 0.3 | 0.2 | 0.1 | 0.08 |\n"
        f"| random | 4 x 2 | 0.4 | 0.3 | 0.2 | 0.1 | 0.01 |\n\n## Tables\n\n{table}"
        "| smac | 4 x 2 | 0.4 | 0.3 | 0.2 | 0.1 | 0.02 |\n"
    )
    figures["rows"].__globals__["RESULTS"] = tmp_path
    assert figures["regret_of_best_peer"]("hyperband") == "75%"


def elements(picture):
    return list(ET.fromstring(picture).iter())  # noqa: S314, our own


def moving_picture():
    tuner = hpo.Tuner(
        {"rate": hpo.Continuous(0.1, 1.0)},
        hpo.Minimize("loss"),
        strategy=hpo.Hyperband(max_resource=81),
        max_trials=6,
        seed=0,
        progress="off",
    )
    for trial in tuner:
        for epoch in range(1, 82):
            if trial.report(epoch, {"loss": trial["rate"] / epoch**0.5}):
                break
    return tuner, runpy.run_path(str(DOCS / "moving_picture.py"))["svg"](tuner)


def test_moving_picture_shows_every_trial_and_runs_nothing():
    tuner, text = moving_picture()
    for picture in (text, (DOCS / "pictures" / "search.svg").read_text(encoding="utf-8")):
        assert {element.tag for element in elements(picture)} == {
            SVG + tag for tag in ("svg", "title", "style", "rect", "text", "path")
        }
        assert "prefers-reduced-motion: no-preference" in picture
        assert len(picture) < 100_000
    curves = [part.get("class") for part in elements(text) if part.tag == SVG + "path"]
    assert sum(kind.startswith("curve ") for kind in curves) == len(tuner.trials)
    assert sum(kind.startswith("curve best ") for kind in curves) == 1


LEADS_ON = sorted([*(DOCS / "start").glob("*.md"), *(DOCS / "guides").glob("*.md")])


@pytest.mark.parametrize("page", LEADS_ON, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_page_says_what_to_read_next(page):
    last = page.read_text(encoding="utf-8").strip().split("\n\n")[-1]
    assert last.startswith("Read next: ")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", last) if not target.startswith("http")]
    assert targets
    assert all((page.parent / target).resolve() != page for target in targets)


@pytest.mark.parametrize("term", ["prun", "TPE", "resume", "cross-validation", "Slurm"])
def test_glossary_explains_what_people_search_for(term):
    headings = re.findall(r"^### (.*)$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert any(term in heading for heading in headings)


def test_readme_and_comparison_name_the_same_tools():
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")
    header, version = re.search(r"^\| \|(.*)\|\n\|[-|]+\|\n\| version \|(.*)\|$", page, re.MULTILINE).groups()
    tools = [name.strip() for name in header.split("|")][1:]
    assert len(tools) == len(re.findall(r"\d+\.\d+", version)) == 6
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert all(tool.removesuffix(" AMT") in readme for tool in tools)
    columns = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert columns == {9}
