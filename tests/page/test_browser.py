"""The page in a real browser: what a person sees, clicks and types."""

import contextlib
import math
import shutil

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.coordination.acting import STOPPED
from hpo_plugins.records import Annotation

pytest.importorskip("uvicorn")
pytest.importorskip("plotly")
pytest.importorskip("playwright")
from playwright import sync_api

from hpo_plugins.page import answers
from hpo_plugins.page.server import PageServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
EVIL = "<img src=x onerror=\"document.body.dataset.evil='yes'\">"


def searched(path, name="churn", seed=0, trials=12):
    """A search with all kinds of parameters, one of them named to break a page."""
    space = {
        "eta": hpo.Continuous(1e-3, 0.5, scale="log"),
        "depth": hpo.Integer(2, 12),
        "kind": hpo.Categorical(["a", True, 1]),
        EVIL: hpo.Continuous(0, 1, when={"kind": "a"}),
    }
    tuner = hpo.Tuner(
        space, hpo.Minimize("val_loss"), strategy=hpo.Hyperband(max_resource=9), max_trials=trials, seed=seed,
        storage=path, name=name, progress=False,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for trial in tuner:
        for epoch in range(1, 10):
            loss = 0.1 + abs(math.log10(trial["eta"]) + 1.2) + 0.8 / epoch**0.7 + 0.01 * rng.normal()
            if trial.report(epoch, {"val_loss": loss}):
                break
    return tuner


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(answers, "POLL_SECONDS", 0.05)


@contextlib.contextmanager
def opened(browser, path, *, allow_actions=True, study=None, refused=False, **options):
    """Serve a storage; yield its page in a tab, once its pictures are drawn. Nothing is written to the console."""
    server = PageServer(path, allow_actions=allow_actions, study=study)
    server.start()
    context, said = browser.new_context(accept_downloads=True, **options), []
    try:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        # What a machine without a graphics card says of itself, and what the browser says of ``painted``.
        drivers = ("WebGL", "GPU stall", "GL Driver", "willReadFrequently", *(["400 (Bad Request)"] if refused else []))
        tab.on("console", lambda m: None if any(word in m.text for word in drivers) else said.append(m.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(server.url)
        tab.wait_for_selector("body[data-ready]")
        tab.wait_for_selector("body[data-advised]")
        yield tab
        assert tab.evaluate("document.body.dataset.evil") is None
        assert said == []
    finally:
        context.close()
        server.end()


def until(tab, condition):
    """Wait for a condition; the page's own policy forbids what Playwright would evaluate in it."""
    for _ in range(3000):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(20)
    raise AssertionError(condition)


def count(tab):
    return tab.locator("#count").inner_text()


@pytest.mark.parametrize(
    "options",
    [
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True},
    ],
    ids=["desktop", "phone"],
)
@pytest.mark.full
def test_page_renders_and_is_accessible(browser, tmp_path, options):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    searched(tmp_path / "a.db")
    searched(tmp_path / "a.db", "other", seed=1)
    hpo.Tuner.load(tmp_path / "a.db", "other").annotate(3, note="x", tags=["odd", EVIL[:60]])
    with opened(browser, tmp_path / "a.db", bypass_csp=True, **options) as tab:  # the checker is a script of its own

        def check(what):
            found = axe.run(tab).response["violations"]
            assert [(what, each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []

        assert tab.locator(".plot").count() >= 5
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check("page")
        for button, dialog in [
            ("#rows button", "trial"),
            ("#enqueue", "enqueue"),
            ("#about", "about"),
            ("#compare", "compare"),
        ]:
            tab.locator(button).first.click()
            tab.wait_for_selector(f"#{dialog}-dialog[open]")
            check(dialog)
            tab.keyboard.press("Escape")
            tab.wait_for_selector(f"#{dialog}-dialog", state="hidden")


def test_checker_finds_what_is_wrong(browser, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db", bypass_csp=True) as tab:
        tab.evaluate("document.getElementById('study').previousElementSibling.remove()")
        assert "select-name" in {each["id"] for each in axe.run(tab).response["violations"]}


def test_new_reports_appear_without_a_reload(browser, tmp_path):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=3, seed=0
    )
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    with opened(browser, tmp_path / "a.db") as tab:
        tab.locator("#filter").fill("running")
        tab.evaluate("window.kept = 'the same document'; scrollTo(0, 200)")
        place = tab.evaluate("scrollY")
        trial.report(2, {"loss": 0.25})
        until(tab, "document.getElementById('rows').textContent.includes('0.25')")
        assert tab.evaluate("window.kept") == "the same document"
        assert tab.locator("#filter").input_value() == "running"
        assert tab.evaluate("scrollY") == place
        assert tab.locator("#live").inner_text() == "live"
        trial.end()
        until(tab, "document.getElementById('count').textContent === '0 of 1 trials'")


def test_page_says_that_its_study_was_deleted(browser, tmp_path):
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db") as tab:
        hpo.studies(tmp_path / "a.db")["churn"].delete()
        until(tab, "document.getElementById('live').textContent.includes('deleted or renamed')")


def test_running_trial_is_stopped_with_a_reason(browser, tmp_path):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=3, seed=0
    )
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    with opened(browser, tmp_path / "a.db") as tab:
        tab.get_by_role("button", name="Trial 0").click()
        tab.get_by_label("Why you act (optional)").fill("diverges")
        tab.get_by_role("button", name="Stop", exact=True).click()
        until(tab, "document.getElementById('message').textContent === 'Trial 0 stops at its next report.'")
        assert trial.report(2, {"loss": 2.0})
        trial.end()
        until(tab, "document.getElementById('rows').textContent.includes('stopped by a person: diverges')")
        assert "diverges" in tab.locator("#log").inner_text()
    assert tuner.trials[0].stop_reason == f"{STOPPED}: diverges"


def test_configuration_like_a_trial_s_is_enqueued_by_keyboard(browser, tmp_path):
    searched(tmp_path / "a.db", trials=6)
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    wanted = tuner.trials[2].params
    with opened(browser, tmp_path / "a.db", refused=True) as tab:
        tab.get_by_role("button", name="Trial 2", exact=True).focus()
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#trial-dialog[open]")
        tab.get_by_role("button", name="Enqueue one like this").press("Enter")
        tab.wait_for_selector("#enqueue-dialog[open]")
        form = tab.locator("#enqueue-form")
        form.get_by_role("button", name="Enqueue").press("Enter")  # unchanged, it was tried
        until(tab, "document.querySelector('#enqueue-form .error').textContent.includes('a trial has tried')")
        form.get_by_label("depth").fill("11" if wanted["depth"] != 11 else "10")
        form.get_by_role("button", name="Enqueue").press("Enter")
        until(
            tab, "document.getElementById('message').textContent.includes('is enqueued, but no trial will be started')"
        )
    point = hpo.Tuner.load(tmp_path / "a.db").history.enqueued[0]
    assert point == wanted | {"depth": 11 if wanted["depth"] != 11 else 10}


def test_notes_tags_and_names_are_written(browser, tmp_path):
    searched(tmp_path / "a.db", trials=3)
    with opened(browser, tmp_path / "a.db") as tab:
        tab.get_by_role("button", name="Trial 1", exact=True).click()
        form = tab.locator("#trial-form")
        form.get_by_label("Note", exact=True).fill("odd curve")
        form.get_by_label("Tags, separated by commas").fill("odd, mine")
        form.get_by_role("button", name="Save note and tags").click()
        until(tab, "document.querySelectorAll('#rows .tagged').length === 2")
        tab.locator("#tag").select_option("odd")
        assert count(tab) == "1 of 3 trials"
        tab.get_by_role("button", name="Notes and name").click()
        tab.get_by_label("Name of the study").fill("churn, week 2")
        tab.get_by_role("button", name="Rename").click()
        until(tab, "document.getElementById('title').textContent === 'churn, week 2'")
    assert hpo.Tuner.load(tmp_path / "a.db", "churn, week 2").annotations == {
        1: Annotation("odd curve", ("odd", "mine"))
    }


def test_page_that_can_only_be_read_offers_no_action(browser, tmp_path):
    searched(tmp_path / "a.db", trials=3)
    with opened(browser, tmp_path / "a.db", allow_actions=False) as tab:
        assert not tab.locator("#enqueue").is_visible()
        tab.get_by_role("button", name="Trial 1", exact=True).click()
        tab.wait_for_selector("#trial-dialog[open]")
        for name in ("Stop", "Fail", "Restart", "Save note and tags", "Enqueue one like this"):
            assert not tab.get_by_role("button", name=name, exact=True).is_visible()


def painted(tab, kind):
    """How many colours of marks are over a picture, None if there is nothing over it: no veil, no marks."""
    return tab.evaluate(
        """(kind) => { const { canvas } = charts.get(kind); if (canvas.hidden) return null;
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const veil = new Set(), marks = new Set();
        for (let i = 0; i < data.length; i += 4)
            if (data[i + 3] === 255) marks.add(data.slice(i, i + 3).join()); else veil.add(data[i + 3]);
        if (veil.size < 2) throw new Error("no veil"); return marks.size; }""",
        kind,
    )


LINKED = ("history", "curves", "parallel", "timeline")


def test_trial_that_is_clicked_is_seen_in_all_pictures(browser, tmp_path):
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db", viewport={"width": 1280, "height": 900}) as tab:
        assert [painted(tab, kind) for kind in LINKED] == [None] * 4
        place = tab.evaluate(
            """() => { const { div } = charts.get('history'), { xaxis, yaxis } = div._fullLayout;
            const trace = div.data.find((each) => each.customdata), at = div.getBoundingClientRect();
            div.scrollIntoView({ block: 'center' }); const now = div.getBoundingClientRect();
            return [now.x + xaxis._offset + xaxis.d2p(trace.x[0]), now.y + yaxis._offset + yaxis.d2p(trace.y[0]),
                    trace.customdata[0]]; }"""
        )
        tab.mouse.move(place[0] - 2, place[1])
        tab.mouse.move(place[0], place[1])
        tab.wait_for_selector("#figure-history ~ .frame .hoverlayer .hovertext")
        tab.mouse.click(place[0], place[1])
        until(tab, "document.getElementById('count').textContent === '1 of 12 trials'")
        assert tab.locator("#rows button").first.get_attribute("data-trial") == str(place[2])
        assert all(painted(tab, kind) for kind in LINKED)
        tab.get_by_role("button", name="Show all trials").click()
        assert count(tab) == "12 of 12 trials"
        assert [painted(tab, kind) for kind in LINKED] == [None] * 4


def test_box_in_one_picture_chooses_in_the_others(browser, tmp_path):
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db", viewport={"width": 1280, "height": 900}) as tab:
        tab.evaluate("Plotly.relayout(charts.get('history').div, { dragmode: 'select' })")
        box = tab.evaluate(
            """() => { const { div } = charts.get('history'), { xaxis, yaxis } = div._fullLayout;
            div.scrollIntoView({ block: 'center' }); const now = div.getBoundingClientRect();
            const x = (n) => now.x + xaxis._offset + xaxis.d2p(n); const top = now.y + yaxis._offset;
            return [x(1.5), x(5.5), top + yaxis._length - 25, top + 1]; }"""
        )
        tab.mouse.move(box[0], box[2])
        tab.mouse.down()
        tab.mouse.move(box[1], box[3], steps=5)
        tab.mouse.up()
        until(tab, "document.getElementById('count').textContent === '4 of 12 trials'")
        assert {each.get_attribute("data-trial") for each in tab.locator("#rows button").all()} == {"2", "3", "4", "5"}
        assert painted(tab, "curves") > 0
        tab.get_by_role("button", name="Show all trials").click()
        assert count(tab) == "12 of 12 trials"


def test_filter_is_seen_in_the_pictures(browser, tmp_path):
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db") as tab:
        tab.locator("#state").select_option("completed")
        assert painted(tab, "curves") > 0
        tab.locator("#filter").fill("nothing has this")
        assert count(tab) == "0 of 12 trials"
        assert [painted(tab, kind) for kind in LINKED] == [0] * 4


def test_no_button_sends_a_study_anywhere(browser, tmp_path):
    searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db") as tab:
        titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map((each) => each.dataset.title)")
        assert "Box Select" in titles
        assert not [title for title in titles if "Share" in title or "Edit" in title or "loud" in title]


def test_table_sorts_and_says_so(browser, tmp_path):
    tuner = searched(tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db") as tab:
        tab.locator("#head button").nth(2).press("Enter")
        assert tab.locator("#head th").nth(2).get_attribute("aria-sort") == "ascending"
        first = int(tab.locator("#rows button").first.get_attribute("data-trial"))
        assert first == tuner.best_trial.number
        tab.locator("#head button").nth(2).press("Enter")
        assert tab.locator("#head th").nth(2).get_attribute("aria-sort") == "descending"


def test_studies_are_compared_in_one_picture(browser, tmp_path):
    one, two = searched(tmp_path / "a.db", "one"), searched(tmp_path / "a.db", "two", seed=1)
    with opened(browser, tmp_path / "a.db", study="one") as tab:
        assert tab.locator("#title").inner_text() == "one"
        tab.get_by_role("button", name="Compare studies").click()
        tab.wait_for_selector("#compare-plot[data-ready='epochs 2']")
        lines = tab.evaluate("document.getElementById('compare-plot').data.map((each) => [each.name, each.y.at(-1)])")
        assert lines == [
            ["one", pytest.approx(one.best_trial.value, rel=1e-4)],
            ["two", pytest.approx(two.best_trial.value, rel=1e-4)],
        ]
        tab.get_by_label("time").check()
        tab.wait_for_selector("#compare-plot[data-ready='seconds 2']")
        tab.keyboard.press("Escape")
        tab.locator("#study").select_option("two")
        until(tab, "document.getElementById('title').textContent === 'two'")
        assert "study=two" in tab.url


@pytest.mark.parametrize(
    "what", ["trials", *(pytest.param(name, marks=pytest.mark.full) for name in ("report", "curves", "actions"))]
)
def test_files_are_downloaded(what, browser, tmp_path):
    searched(tmp_path / "a.db", trials=3)
    with opened(browser, tmp_path / "a.db") as tab:
        with tab.expect_download() as download:
            tab.locator("#download").select_option(what)
        text = download.value.path().read_text()
        assert download.value.suggested_filename == f"{what}.{'html' if what == 'report' else 'csv'}"
        assert text.startswith(
            {"report": "<!doctype html>", "trials": "number,", "curves": "number,", "actions": ""}[what]
        )


def test_empty_study_has_a_page(browser, tmp_path):
    hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=tmp_path / "a.db")
    with opened(browser, tmp_path / "a.db") as tab:
        assert count(tab) == "0 of 0 trials"
        assert tab.locator("#best").inner_text() == "No trial has a value yet."


def test_frame_on_another_site_shows_the_page(browser, tmp_path):
    """As in a notebook: the frame gets no cookies."""
    searched(tmp_path / "a.db", trials=3)
    server = PageServer(tmp_path / "a.db", in_frame=True)
    server.start()
    tab = browser.new_page()
    try:
        tab.set_content(f"<iframe src='{server.url}' width=900 height=700></iframe>")
        frame = tab.frame_locator("iframe")
        frame.locator("body[data-ready]").wait_for(timeout=60_000)
        assert frame.locator("#count").inner_text() == "3 of 3 trials"
    finally:
        tab.close()
        server.end()
