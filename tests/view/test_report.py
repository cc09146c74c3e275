"""The report, in a real browser where there is one."""

import json
import re
import shutil
import subprocess

import pytest

import hpo_plugins as hpo
from hpo_plugins.view import study_view
from hpo_plugins.view.importance import importances
from hpo_plugins.view.plots.data import MAX_CURVES, Figure
from hpo_plugins.view.report import MAX_POINTS, report, report_data

from .conftest import plain, searched

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    CHROMIUM, "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom",
]  # fmt: skip
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def browse(url, *arguments, script=None):
    """Open a page in headless Chromium; return its document afterwards, and what it wrote to the console."""
    ended = subprocess.run(
        [*FLAGS, *arguments, url],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    drivers = ("WebGL", "GPU stall", "GL Driver")  # what a machine without a graphics card says of itself
    lines = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    console = [line for line in lines if not any(word in line for word in drivers)]
    return ended.stdout, console


@in_a_browser
@pytest.mark.parametrize("window", ["1280,900", "390,844"], ids=["desktop", "phone"])
@pytest.mark.full
def test_report_renders_without_an_error(demo, tmp_path, window):
    demo.to_html(tmp_path / "report.html")
    dom, console = browse(f"file://{tmp_path / 'report.html'}", f"--window-size={window}")
    assert console == []
    assert 'data-ready="true"' in dom
    assert dom.count("<h3>") == 7
    assert dom.count("main-svg") >= 5
    assert len(re.findall(r"<tr>", dom.partition('id="rows"')[2])) == 50
    assert "50 of 50 trials" in dom


@in_a_browser
@pytest.mark.parametrize(("scheme", "background"), [("0", "rgb(18, 22, 31)"), ("1", "rgb(255, 255, 255)")])
@pytest.mark.full
def test_report_follows_the_reader_s_colours(demo, tmp_path, scheme, background):
    demo.to_html(tmp_path / "report.html")
    action = "document.body.dataset.seen = getComputedStyle(document.body).backgroundColor;"
    page = (tmp_path / "report.html").read_text().replace("</body>", f"<script>{action}</script></body>")
    (tmp_path / "seen.html").write_text(page)
    dom, console = browse(f"file://{tmp_path / 'seen.html'}", f"--blink-settings=preferredColorScheme={scheme}")
    assert console == []
    assert f'data-seen="{background}"' in dom


@in_a_browser
def test_page_sorts_and_filters(demo, tmp_path):
    demo.to_html(tmp_path / "report.html")
    action = """
        document.getElementById("head").children[2].click();
        document.getElementById("state").value = "completed";
        document.getElementById("state").onchange();
        const rows = [...document.querySelectorAll("#rows tr")];
        document.body.dataset.values = rows.map((r) => r.children[2].textContent).join(" ");
    """
    page = (tmp_path / "report.html").read_text().replace("</body>", f"<script>{action}</script></body>")
    (tmp_path / "acted.html").write_text(page)
    dom, console = browse(f"file://{tmp_path / 'acted.html'}")
    assert console == []
    values = [float(value) for value in re.search(r'data-values="([^"]*)"', dom)[1].split()]
    completed = [t.value for t in demo.trials if t.state is hpo.TrialState.COMPLETED]
    assert values == pytest.approx(sorted(completed), rel=1e-4)


@in_a_browser
def test_names_are_text_everywhere(tmp_path):
    evil = "<script>document.body.dataset.evil = 'yes'</script><img src=x onerror=\"document.body.dataset.evil='yes'\">"
    tuner = plain(
        {evil: hpo.Continuous(0, 1), "b": hpo.Categorical([evil, "a"])}, [[1.0 / (n + 1)] for n in range(12)], name=evil
    )
    tuner.to_html(tmp_path / "report.html")
    dom, console = browse(f"file://{tmp_path / 'report.html'}")
    assert console == []
    assert 'data-ready="true"' in dom
    assert "data-evil" not in dom.partition("<script type")[0]


def test_every_study_has_a_report(edge, tmp_path):
    text = report(edge._view())
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data)["columns"][0] == "trial"
    assert "{{" not in text.partition("<script type")[0]


@in_a_browser
def test_no_button_sends_a_study_anywhere(demo, tmp_path):
    demo.to_html(tmp_path / "report.html")
    dom, _ = browse(f"file://{tmp_path / 'report.html'}", "--window-size=1280,900")
    titles = re.findall(r'data-title="([^"]*)"', dom.partition("<script type")[0])
    assert "Zoom" in titles
    assert not [title for title in titles if "Share" in title or "loud" in title]


@pytest.mark.full
def test_large_study_is_small(tmp_path):
    """5,000 trials of 50 epochs: what a browser has to read is bounded."""
    tuner = hpo.Tuner(
        {"a": hpo.Continuous(0, 1), "b": hpo.Integer(0, 9)}, hpo.Minimize("loss"), seed=0, max_trials=5000
    )
    for trial in tuner:
        for epoch in range(1, 51):
            trial.report(epoch, {"loss": trial["a"] + 1 / epoch})
    view = tuner._view()
    data = report_data(view)
    curves = next(figure for figure in data["figures"] if figure["title"] == "Learning curves")
    assert len(curves["data"]) <= MAX_CURVES + 50
    assert all(len(trace["x"]) <= MAX_POINTS for trace in curves["data"])
    tuner.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    if CHROMIUM is not None:
        dom, console = browse(f"file://{tmp_path / 'report.html'}")
        assert console == []
        assert "5000 of 5000 trials" in dom


def test_report_is_the_same_from_a_stored_study(tmp_path):
    tuner = searched(tmp_path / "a.db", trials=12)
    own, loaded = (report_data(each._view()) for each in (tuner, hpo.Tuner.load(tmp_path / "a.db")))
    assert own["rows"] == loaded["rows"]
    assert own["figures"] == loaded["figures"]


def test_report_contains_the_interactive_figures(demo):
    embedded = {figure["title"]: figure for figure in report_data(demo._view())["figures"]}
    for kind in Figure.__subclasses__():
        drawn = getattr(demo.plot.interactive, kind.kind)().to_plotly_json()
        if not kind.in_report or not drawn["data"]:
            assert kind.title not in embedded
            continue
        assert [(t.get("x"), t.get("name")) for t in embedded[kind.title]["data"] if kind.kind != "curves"] == [
            (t.get("x"), t.get("name")) for t in drawn["data"] if kind.kind != "curves"
        ]
        assert embedded[kind.title]["layout"]["xaxis"] == drawn["layout"]["xaxis"]
    assert len(embedded["Learning curves"]["data"]) == len(demo.trials)


def test_importances_are_computed_once_a_page(demo, monkeypatch):
    calls = []
    monkeypatch.setattr(study_view, "importances", lambda *arguments: calls.append(1) or importances(*arguments))
    report_data(demo._view())
    assert calls == [1]
