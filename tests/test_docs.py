"""The documentation: every snippet runs, every link leads somewhere, and the site builds without a warning."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo_plugins import testing

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
ALL = [*PAGES, ROOT / "README.md", ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md"]
ALL.append(ROOT / "benchmarks" / "results" / "README.md")
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "HPO_PLUGINS_PROGRESS": "off"}
FRAMEWORKS = {path.stem for path in (ROOT / "integrations").glob("[!_]*.py")} | {"keras_tuner", "optuna", "torch"}
NEEDS = re.compile(rf"^\s*(?:import|from) ({'|'.join(sorted(FRAMEWORKS))})\b", re.MULTILINE)
SEARCHED = {
    "prune": "coming_from/optuna",
    "TPE": "glossary",
    "resume": "guides/pausing",
    "cross-validation": "guides/folds_and_phases",
    "SLURM": "guides/slurm",
}
FETCHED = re.compile(
    r"""<(?:script|img|iframe)[^>]+src=["'](https?:[^"']+)|<link[^>]+rel=["']stylesheet["'][^>]+href=["'](https?:[^"']+)"""
)


def snippets(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


LONG = {"ray_tune", "keras_tuner", "optuna", "transformers", "lightning"}  # other tuners, or long training runs
ALONE = re.compile(r"__main__|\bworkers=")  # processes that import the script


def snippet_groups():
    """Pages with snippets: those of a folder share a process, which imports scipy and the frameworks once."""
    together = {}
    for page in PAGES:
        if not snippets(page):
            continue
        if page.stem in LONG or ALONE.search("".join(snippets(page))):
            yield pytest.param([page], marks=[pytest.mark.full] * (page.stem in LONG), id=page.stem)
        else:
            together.setdefault(page.parent.name, []).append(page)
    for folder, pages in together.items():
        marks = [pytest.mark.full] * (folder == "start")  # a page for each framework
        for first in range(0, len(pages), 8):  # workers of pytest share them
            yield pytest.param(pages[first : first + 8], marks=marks, id=f"{folder}-{first}")


EACH = """
import os, runpy, sys
for script in sys.argv[1:]:
    os.chdir(os.path.dirname(script))
    print("Page:", script, file=sys.stderr)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")
"""


def can_run(page):
    """Whether the frameworks that a page needs are installed."""
    needed = NEEDS.findall("\n".join(snippets(page)))
    return all(importlib.util.find_spec({"ray": "tensorboardX"}.get(name, name)) for name in needed)  # ray.tune's


@pytest.mark.parametrize("pages", list(snippet_groups()))
def test_snippets_of_a_page_run_from_top_to_bottom(pages, tmp_path):
    scripts = []
    for page in filter(can_run, pages):
        script = tmp_path / page.stem / "snippets.py"
        script.parent.mkdir()
        script.write_text("\n".join(snippets(page)), encoding="utf-8")
        scripts.append(script)
    if not scripts:
        pytest.skip("a module is not installed")
    command = [sys.executable, *(["-c", EACH] if len(scripts) > 1 else []), *scripts]
    ended = subprocess.run(command, cwd=scripts[0].parent, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_examples_of_the_page_on_extending_keep_the_laws(tmp_path):
    page = ROOT / "docs" / "extending.md"
    script = tmp_path / "test_extending.py"
    script.write_text("\n".join(snippets(page)), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, script]
    ended = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:]
    contracts = set(re.findall(r"^class Test\w+\((\w+)\):", script.read_text(), re.MULTILINE))
    assert len(contracts) == 5
    n_laws = sum(name.startswith("test_") for contract in contracts for name in dir(getattr(testing, contract)))
    assert int(re.search(r"(\d+) passed", ended.stdout)[1]) >= n_laws


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_links_and_pictures_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else page.parent / path
        if page.parent.name == "docs" and not found.exists():
            found = found.with_suffix(".md")
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "index.md").read_text()
    listed = set(re.findall(r"^(?:start|guides|coming_from|how_it_works|reference)/\w+$", contents, re.MULTILINE))
    there = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in PAGES if page.parent.name != "docs"}
    there = {page for page in there if not page.startswith("decisions/")}  # test_figures.py compares their own list
    assert "decisions/index" in contents.splitlines()
    assert listed == there


def test_tests_that_the_guide_to_failures_names_exist():
    named = re.findall(
        r"`((?:tests|hpo_plugins/testing)/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guides" / "failures.md").read_text()
    )
    assert len(named) > 20
    assert [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_files_that_a_framework_needs_are_there_for_every_framework():
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Adding a framework")[2].partition("\nA tracker")[0]
    named = set(re.findall(r"`([\w/<>]+\.(?:py|md|toml))`", section))
    assert len(named) == 8
    frameworks = [p.stem for p in (ROOT / "integrations").glob("[!_]*.py") if '"TrialCallback"' in p.read_text()]
    assert len(frameworks) >= 5
    needed = [path.replace("<name>", framework) for path in named for framework in frameworks]
    assert [path for path in needed if not (ROOT / path).exists()] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def found_by_search(site, word):
    """Return the pages that the site's search finds for a word: those with all of its stems."""
    from sphinx.search.en import SearchEnglish

    index = json.loads(re.search(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text(), re.DOTALL)[1])
    language = SearchEnglish({})
    hits = []
    for part in language.split(word.lower()):
        stem = language.stem(part)
        numbers = [index[kind].get(stem, []) for kind in ("terms", "titleterms")]
        hits.append({index["docnames"][n] for some in numbers for n in (some if isinstance(some, list) else [some])})
    return set.intersection(*hits)


@pytest.mark.full
def test_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("sphinx_click")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", site]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    for page in site.rglob("*.html"):
        assert FETCHED.findall(page.read_text()) == [], page  # nothing is fetched when a page is read
    for word, page in SEARCHED.items():
        assert page in found_by_search(site, word), word
    assert found_by_search(site, "zzyzx") == set()
    errors = (site / "guides" / "errors.html").read_text()
    assert "must be" in errors
    for name in ("MetricNotFound", "CheckpointError", "StudyMismatch"):
        assert name in errors
