"""Measure the page in headless Chromium: seconds to its first picture, and milliseconds from an interaction to a frame.

    python -m benchmarks page-cost [--large 5000] [--small 1000] [--epochs 50] [--repeat 5]

*First picture* is from the navigation to the first drawn figure, of a study of ``--large`` trials; its data were read
when the server started, as they are by ``hpo-plugins dashboard``. *Interaction* is from the change of the selection to
the second frame after it, with marks in all pictures and the table drawn again, of a study of ``--small`` trials. The
CPU seconds are those of the page's main thread: on a busy machine, the wall time also counts other programs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

import hpo_plugins as hpo
from hpo_plugins.page.server import PageServer

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
INTERACTIONS = {
    "choose a trial": "choose([3])",
    "choose 300 trials": "choose([...Array(300).keys()])",
    "show all trials": "choose(null)",
    "filter by text": "document.getElementById('filter').value = '1'; draw()",
    "clear the filter": "document.getElementById('filter').value = ''; draw()",
    "sort the table": "document.querySelectorAll('#head button')[2].click()",
}
IDLE_MS = 700
"""Between two interactions the browser finishes what the one before left to draw, as between two of a person."""
TO_A_FRAME = """(async () => { const began = performance.now(); %s;
await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
return performance.now() - began; })()"""


def make(path: Path, trials: int, epochs: int) -> None:
    """Store a study."""
    space = {"eta": hpo.Continuous(1e-3, 0.5, scale="log"), "depth": hpo.Integer(2, 12), "noise": hpo.Continuous(0, 1)}
    tuner = hpo.Tuner(
        space, hpo.Minimize("loss"), seed=0, max_trials=trials, storage=path, progress=False, checkpoints="pauses"
    )
    rng = np.random.default_rng(0)
    for trial in tuner:
        floor = 0.1 + abs(np.log10(trial["eta"]) + 1.2) * 0.3 + 0.02 * abs(trial["depth"] - 6)
        for epoch, noise in enumerate(rng.normal(size=epochs), 1):
            trial.report(epoch, {"loss": float(floor + 0.8 / epoch**0.7 + 0.01 * noise)})


@contextmanager
def opened(browser: Browser, path: Path) -> Iterator[tuple[PageServer, Page]]:
    """Yield a server of a study, and an empty tab."""
    server = PageServer(path)
    server.start()
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(120_000)
    try:
        yield server, tab
    finally:
        tab.close()
        server.end()


def first_picture(browser: Browser, path: Path) -> tuple[float, float]:
    """Return the seconds from the navigation to the first picture: by the clock, and of the main thread."""
    with opened(browser, path) as (server, tab):
        metrics = tab.context.new_cdp_session(tab)
        metrics.send("Performance.enable", {"timeDomain": "timeTicks"})
        tab.goto(server.url)
        tab.wait_for_selector("body[data-first]")
        found = {each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]}
        return float(tab.evaluate("document.body.dataset.first")) / 1000, float(found["ThreadTime"])


def interactions(browser: Browser, path: Path, repeat: int) -> dict[str, list[float]]:
    """Return the milliseconds from each interaction to a frame."""
    with opened(browser, path) as (server, tab):
        tab.goto(server.url)
        tab.wait_for_selector("body[data-advised]")
        tab.evaluate("document.getElementById('plots').scrollIntoView()")
        taken: dict[str, list[float]] = {name: [] for name in INTERACTIONS}
        for _ in range(repeat + 1):
            for name, script in INTERACTIONS.items():
                tab.wait_for_timeout(IDLE_MS)
                taken[name].append(tab.evaluate(TO_A_FRAME % script))
        return {name: times[1:] for name, times in taken.items()}  # without the first, which compiles


def server_cost(path: Path) -> dict[str, float]:
    """Return the seconds that the server takes to read the study, and to make its first and second part."""
    began = time.perf_counter()
    from starlette.testclient import TestClient

    from hpo_plugins.page.app import create_app

    client = TestClient(create_app(path, token="x"), "http://127.0.0.1", headers={"Authorization": "Bearer x"})  # noqa: S106
    taken = {"open": time.perf_counter() - began}
    for name in ("study", "insights", "study again"):
        began = time.perf_counter()
        client.get(f"/page/{name.split()[0]}?name=default").raise_for_status()
        taken[name] = time.perf_counter() - began
    return taken


def main() -> None:
    """Print the medians and the extremes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=5000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        large, small = Path(folder) / "large.db", Path(folder) / "small.db"
        make(large, given.large, given.epochs)
        make(small, given.small, given.epochs)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        rows: dict[str, list[float]] = {}
        firsts = [first_picture(browser, large) for _ in range(given.repeat)]
        rows["first picture, s"] = [wall for wall, _ in firsts]
        rows["CPU of the main thread until then, s"] = [cpu for _, cpu in firsts]
        rows |= {f"{name}, ms": times for name, times in interactions(browser, small, given.repeat).items()}
        browser.close()
        rows |= {f"server, {name}, s": [seconds] for name, seconds in server_cost(large).items()}
    print("| what | median | least | most |\n|---|---|---|---|")
    for name, values in rows.items():
        shown: list[Any] = [statistics.median(values), min(values), max(values)]
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in shown)} |")


if __name__ == "__main__":
    main()
