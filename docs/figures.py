"""The three figures of the first page, read from ``benchmarks/results/``.

``python docs/figures.py`` writes them into the README and into ``docs/index.md``.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
PEERS = ("optuna", "smac", "syne-tune", "keras-tuner", "neps")


def rows(page: str, section: str = "") -> list[list[str]]:
    """Return the rows of all tables of a page of results, or of its section with a title."""
    text = (RESULTS / f"{page}.md").read_text(encoding="utf-8")
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def regret_of_best_peer(method: str) -> str:
    """Return the regret of a method after 20 full training runs, in parts of that of the best peer."""
    found = rows("headline", "Real trainings")[1:]
    ends = [(name, float(cells[5].split()[0])) for name, *cells in found]
    ours = next(end for name, end in ends if name == method)
    best = min(end for name, end in ends if name.startswith(PEERS))
    return f"{ours / best:.0%}"


def kills() -> str:
    """Return the number of killed processes in the soak test that lost nothing."""
    return re.search(r"(\d+) kills\s+lost\s+no\s+trial", (RESULTS / "stress.md").read_text(encoding="utf-8"))[1]


def cost_beside_optuna(storage: str) -> str:
    """Return the range of what a report adds to a round, in parts of what Optuna's callback adds."""
    ratios = [float(row[5]) for row in rows("report_cost") if row[0] == storage and len(row) > 5]
    return f"{min(ratios):.0%} to {max(ratios):.0%}"


def block(results: str) -> str:
    """Return the figures as a list in Markdown, whose links to pages of results begin as said."""
    sentences = (
        f"- On real tasks, `Bayesian` ends with **{regret_of_best_peer('bayesian, stop')}** and `Hyperband` with"
        f" {regret_of_best_peer('hyperband')} of the [regret]({results}headline.md) of the best other library; on"
        f" [tasks kept apart]({results}kept_apart.md), they are equal or worse.",
        f"- **{kills()} kills** of eight processes lost [no trial and no stored report]({results}stress.md).",
        f"- A [report]({results}report_cost.md) takes **{cost_beside_optuna('SQLite')}** of the time of Optuna's"
        f" callback with SQLite, and {cost_beside_optuna('memory')} in memory.",
    )
    return "".join(
        textwrap.fill(sentence, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n"
        for sentence in sentences
    )


def with_figures(text: str, results: str) -> str:
    """Return a page with the figures of now."""
    return BLOCK.sub(lambda found: found[1] + block(results) + found[2], text)


HOMES = {
    ROOT / "README.md": "benchmarks/results/",
    ROOT / "docs" / "index.md": "https://github.com/hpo-plugins/hpo-plugins/blob/main/benchmarks/results/",
}


def main() -> None:
    """Write the figures into the pages that show them."""
    for page, results in HOMES.items():
        page.write_text(with_figures(page.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
