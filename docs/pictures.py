"""The pictures of the documentation: ``python docs/pictures.py`` runs the main example and draws its results.

Screenshots of the report need Chromium. Without it, this script keeps the ones in the repository.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import hpo_plugins as hpo
from hpo_plugins.page.server import PageServer

PICTURES = Path(__file__).parent / "pictures"
EXAMPLE = Path(__file__).parent.parent / "examples" / "xgboost_digits.py"


def screenshot(page: Path, target: Path, width: int, height: int, *, dark: bool = False) -> None:
    """Write a screenshot of a page."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed: the pictures of the report stay as they are.")
    flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--virtual-time-budget=8000"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [chromium, *flags, f"--window-size={width},{height}", f"--screenshot={target}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def of_the_page(storage: Path, target: Path) -> None:
    """Write a screenshot of the page that acts, with some trials chosen."""
    server = PageServer(storage, allow_actions=True)
    server.start()
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1200, "height": 1250})
        tab.goto(server.url)
        tab.wait_for_selector("body[data-advised]")
        tab.evaluate("choose(D.rows.filter((row) => row[1] === 'completed').slice(0, 6).map((row) => row[0]))")
        tab.evaluate("scrollTo(0, 0)")
        tab.screenshot(path=target)
        browser.close()
    server.end()


def of_start_pages() -> None:
    """Run the snippets of each start page, draw the learning curves, and write the printed output into the page."""
    for page in sorted((Path(__file__).parent / "start").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        snippets = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        before = "\n".join(snippets[: 1 + next(n for n, code in enumerate(snippets) if "summary()" in code)])
        draw = f"tuner.plot.curves().savefig({str(PICTURES / f'start_{page.stem}.png')!r}, dpi=120)\n"
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"KERAS_BACKEND": "torch", "HPO_PLUGINS_PROGRESS": "off"}
            ended = subprocess.run(
                [sys.executable, "-c", f"{before}\n{draw}"],
                cwd=folder, env=environment, check=True, capture_output=True, text=True,
            )  # fmt: skip
        printed = ended.stdout[ended.stdout.rindex("Study 'default'") :].strip()
        text = re.sub(
            r"```text\nStudy 'default'.*?```", lambda _, out=printed: f"```text\n{out}\n```", text, flags=re.DOTALL
        )
        page.write_text(text, encoding="utf-8")


PLOTS = ("history", "parallel", "importance", "slice", "contour", "timeline")


def of_gallery(tuner: hpo.Tuner) -> None:
    """Draw each kind of plot of a study."""
    for kind in PLOTS:
        getattr(tuner.plot, kind)().savefig(PICTURES / f"plot_{kind}.png", dpi=80)


def of_goals() -> None:
    """Draw the Pareto front of a small study with two goals and a limit."""
    tuner = hpo.Tuner(
        {"width": hpo.Continuous(0, 1), "decay": hpo.Continuous(0, 1)},
        [hpo.Minimize("val_loss"), hpo.Minimize("latency_ms")],
        constraints=[hpo.AtMost("latency_ms", 40)],
        max_trials=30,
        seed=0,
        progress="off",
    )
    for trial in tuner:
        loss = (1 - trial["width"]) ** 2 + 0.3 * (trial["decay"] - 0.4) ** 2
        trial.report(1, {"val_loss": loss, "latency_ms": 10 + 40 * trial["width"] ** 2})
    tuner.plot.pareto().savefig(PICTURES / "plot_pareto.png", dpi=80)


def of_notebook() -> None:
    """Run the notebook, keep what it prints in it, and draw its learning curves."""
    notebook = EXAMPLE.parent / "lightgbm_tabular.ipynb"
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(notebook, place)
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", notebook.name]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        shutil.copy(Path(place) / notebook.name, notebook)
        tuner = hpo.Tuner.load(Path(place) / "diabetes.db")
        tuner.plot.curves().savefig(PICTURES / "example_lightgbm_tabular.png", dpi=100)


def main() -> None:
    """Draw all pictures."""
    of_start_pages()
    of_notebook()
    of_goals()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run([sys.executable, str(EXAMPLE)], cwd=folder, check=True, capture_output=True)
        tuner = hpo.Tuner.load(folder / "tuning.db")
        tuner.plot.curves().savefig(PICTURES / "hyperband.png", dpi=200)
        tuner.plot.rungs().savefig(PICTURES / "rungs.png", dpi=120)
        of_gallery(tuner)
        strategies = [hpo.Random(), hpo.Hyperband(max_resource=81), hpo.Hyperband(min_resource=9, max_resource=81)]
        hpo.simulate(tuner, strategies, workers=[1, 4]).plot().savefig(PICTURES / "simulation.png", dpi=110)

        tuner.annotate(note="The defaults, on the digits data set", tags=["baseline"])
        of_the_page(folder / "tuning.db", PICTURES / "page.png")
        page = folder / "report.html"
        tuner.to_html(page)
        screenshot(page, PICTURES / "report.png", 1200, 1500)
        screenshot(page, folder / "dark.png", 1200, 1500, dark=True)
        screenshot(page, folder / "phone.png", 500, 1500, dark=True)
        wide, narrow = (Image.open(folder / name).convert("RGB") for name in ("dark.png", "phone.png"))
        both = Image.new("RGB", (wide.width + 20 + narrow.width, 1500), "white")
        both.paste(wide, (0, 0))
        both.paste(narrow, (wide.width + 20, 0))
        both.resize((both.width // 2, 750)).save(PICTURES / "report-dark.png", optimize=True)


if __name__ == "__main__":
    main()
