"""The page of the headline: tables from finished searches, where this library is behind first, and their comparison.

Notation
    part    spent part of the budget
    mean    over the problems of a family of the mean over their seeds
    +-      standard error of the mean over seeds, for these problems
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.harness import kept, published, results
from benchmarks.harness.kept import Kept
from benchmarks.harness.ranks import mean_ranks

PARTS = (0.05, 0.1, 0.25, 0.5, 1.0)
NAME = "headline"
COMMAND = "python -m benchmarks headline"
Array = NDArray[np.float64]
FORMS = {
    "bayesian, stop": "`Bayesian(max_resource=R)`",
    "bayesian, pause": "`Bayesian(max_resource=R, pause=True)`",
    "bayesian, full": "`Bayesian()`: no run is stopped",
    "bayesian": "`Bayesian()`",
    "hyperband": "`Hyperband(max_resource=R)`",
    "hyperband, random": '`Hyperband(max_resource=R, search="random")`',
    "random": "`Random()`: no run is stopped",
    "optuna tpe + hyperband": "`TPESampler()`, `HyperbandPruner(max_resource=R)`",
    "optuna gp, full": "`GPSampler()`, `NopPruner()`",
    "optuna tpe": "`TPESampler()`",
    "optuna gp": "`GPSampler()`",
    "keras-tuner hyperband": "`Hyperband` oracle, `max_epochs=R`",
    "syne-tune asha": "`ASHA(max_t=R)`",
    "syne-tune asha, centre first": "the same; the middle of all ranges is the first configuration",
    "syne-tune cqr": "`CQR`",
    "neps hyperband": "`hyperband`, epochs from 1 to R",
    "neps priorband, centre": "`priorband`; the middle of each range is the prior, of medium confidence",
}
"""How each method is called; everything else is its library's default. R is the epochs of a full training run."""
LEGEND = """\
Regret: 0 is the best known, 1 the median of random configurations, at most 2 counts; the mean over seeds, then over
problems, ± its standard error over seeds. One worker. Training runs: the time of 20 full ones, in seconds of a cost
model (real) or in epochs (small). Tables: 50 evaluations. *Worst problem*: the one with the highest regret at the end.
*CPU ms*: the search's own CPU time for each trial that it starts. No rule of this library was chosen on *tables apart*.
"""


class Cell(NamedTuple):
    """A mean regret, its standard error (NaN with one seed), and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: int

    def __str__(self) -> str:
        """Return it as a cell of a table."""
        return f"{self.mean:.3f}" if np.isnan(self.error) else f"{self.mean:.3f} ± {self.error:.3f}"


Table = dict[str, dict[str, dict[float, Cell]]]
"""By family, method and part of the budget."""


def by_method(searches: Iterable[Kept], family: str) -> dict[str, dict[str, Array]]:
    """Return regrets at the parts by method and problem, shape ``(n_seeds, n_parts)``; methods on all problems only."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for each in searches:
        if each.search.family == family:
            of_method = found.setdefault(each.search.method, {})
            of_method.setdefault(each.search.problem, []).append([each.at(part) for part in PARTS])
    problems = set().union(*found.values())
    return {
        method: {problem: np.array(of_method[problem]) for problem in sorted(of_method)}
        for method, of_method in found.items()
        if of_method.keys() == problems
    }


def cells(of_method: dict[str, Array]) -> dict[float, Cell]:
    """Return the mean over problems at each part, from regrets of shape ``(n_seeds, n_parts)`` by problem."""
    regrets = list(of_method.values())
    mean = np.mean([each.mean(axis=0) for each in regrets], axis=0)
    error = results.standard_error(regrets)
    freedom = sum(len(each) - 1 for each in regrets)
    return {part: Cell(float(m), float(e), freedom) for part, m, e in zip(PARTS, mean, error, strict=True)}


def table_of(searches: list[Kept]) -> Table:
    """Return the mean regrets, of families in which two methods at least ran on all problems."""
    titles = dict.fromkeys(each.search.family for each in searches)
    found = {title: by_method(searches, title) for title in titles}
    return {
        title: {method: cells(of_method) for method, of_method in methods.items()}
        for title, methods in found.items()
        if len(methods) > 1
    }


def behind(table: Table) -> list[str]:
    """Return a line for each family and part at which another library's method has the least mean regret."""
    lines = []
    for family, methods in table.items():
        ours = {name: row for name, row in methods.items() if name.startswith(results.OURS)}
        theirs = {name: row for name, row in methods.items() if name not in ours}
        for part in PARTS if ours and theirs else ():
            mine, peer = (min(group, key=lambda name: group[name][part].mean) for group in (ours, theirs))
            first, second = ours[mine][part], theirs[peer][part]
            if second.mean < first.mean:
                lines.append(f"| {family} | {part:.0%} | {peer} {second} | {mine} {first} |")
    return lines


def section(title: str, searches: list[Kept], table: dict[str, dict[float, Cell]]) -> str:
    """Return the table of a family, the method that ends best first."""
    regrets = by_method(searches, title)
    lines = [
        "| method | problems x seeds | " + " | ".join(f"@{part:.0%}" for part in PARTS) + " | worst problem | CPU ms |"
    ]
    lines.append("|---" * (len(PARTS) + 4) + "|")
    for method in sorted(table, key=lambda name: table[name][1.0].mean):
        ends = {problem: float(each[:, -1].mean()) for problem, each in regrets[method].items()}
        worst = max(ends, key=lambda problem: ends[problem])
        own = [each for each in searches if each.search.family == title and each.search.method == method]
        cost = 1e3 * sum(each.seconds for each in own) / sum(each.asked for each in own)
        seeds = {len(each) for each in regrets[method].values()}
        count = "-".join(str(number) for number in sorted({min(seeds), max(seeds)}))
        shown = " | ".join(str(table[method][part]) for part in PARTS)
        lines.append(f"| {method} | {len(ends)} x {count} | {shown} | {worst} {ends[worst]:.3f} | {cost:.0f} |")
    return f"## {title}\n\n" + "\n".join(lines)


def rank_table(searches: list[Kept], titles: list[str]) -> str:
    """Return mean ranks at the end over all problems of several families, of the methods that ran on all of them."""
    found = [by_method(searches, title) for title in titles]
    common = [method for method in found[0] if all(method in each for each in found)]
    regrets = {
        method: {
            f"{title}: {problem}": seeds[:, -1]
            for title, each in zip(titles, found, strict=True)
            for problem, seeds in each[method].items()
        }
        for method in common
    }
    if len(common) < 2:
        return f"{' and '.join(titles)}: no two methods ran on all problems."
    ranks = mean_ranks(regrets)
    lines = [f"| {' and '.join(titles)}: method | mean rank at 100 % (95 % interval) |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {ranks[name]} |" for name in sorted(ranks, key=lambda name: ranks[name])])


def kinds(titles: Iterable[str]) -> list[list[str]]:
    """Return the titles by what their problems are: training runs, or tables."""
    titles = list(titles)
    tables = [title for title in titles if title.startswith("Tables")]
    return [group for group in ([title for title in titles if title not in tables], tables) if group]


def body(searches: list[Kept]) -> str:
    """Return the page below its head."""
    table = table_of(searches)
    searches = [each for each in searches if each.search.method in table.get(each.search.family, {})]
    lost = behind(table)
    cpu = sum(each.cpu for each in searches) / 60
    seeds = len({each.search.seed for each in searches})
    remarks = [] if seeds > 1 else ["With one seed there are no standard errors: this is a beginning, no result."]
    if all(title.startswith("Tables") for title in table):
        remarks.append("No training runs are in it yet.")
    counts = f"{len(searches)} searches, number of seeds: {seeds}, {cpu:.0f} CPU minutes."
    intro = "\n\n".join([" ".join([counts, *remarks]), LEGEND.strip()])
    first = ["| family | part of the budget | best other library | best of this library |", "|---" * 4 + "|", *lost]
    used = {each.search.method: each.library for each in searches}
    settings = ["| method | library | called as |", "|---|---|---|"]
    settings += [f"| {method} | {used[method]} | {form} |" for method, form in FORMS.items() if method in used]
    return "\n\n".join(
        [
            intro,
            "## Where this library is behind\n\n" + ("\n".join(first) if lost else "Nowhere in the tables below."),
            "## Mean ranks\n\n" + "\n\n".join(rank_table(searches, titles) for titles in kinds(table)),
            f"![Regret against the budget]({NAME}.png)",
            *(section(title, searches, methods) for title, methods in table.items()),
            "## What is compared\n\nEverything that is not named is the library's default.\n\n" + "\n".join(settings),
        ]
    )


def stored(text: str) -> Table:
    """Return the mean regrets of a page."""
    found: Table = {}
    for title, content in re.findall(r"^## (.*)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE):
        for method, row in published.rows(content).items():
            problems, _, seeds = row["problems x seeds"].partition(" x ")
            freedom = int(problems) * (int(seeds.partition("-")[0]) - 1)
            marks = {part: row[f"@{part:.0%}"].split(" ± ") for part in PARTS}
            found.setdefault(title, {})[method] = {
                part: Cell(float(mean), float(error[0]) if error else np.nan, freedom)
                for part, (mean, *error) in marks.items()
            }
    return found


class Comparison(NamedTuple):
    """How many cells two tables share, how many of these have intervals, and the cells that differ."""

    shared: int
    judged: int
    differing: list[str]


def compared(page: Table, fresh: Table, level: float = 0.05) -> Comparison:
    """Compare the cells that both tables have.

    A cell differs if its two means are further apart than chance explains: by Student's t on their standard errors,
    at a level that holds for all cells together (Bonferroni). Cells of a single seed have no interval, and are not
    judged.
    """
    pairs = [
        (
            f"{family}, {method} at {part:.0%}: {old} on the page, {fresh[family][method][part]} now",
            old,
            fresh[family][method][part],
        )
        for family, methods in page.items()
        for method, row in methods.items()
        for part, old in row.items()
        if method in fresh.get(family, {})
    ]
    judged = [(text, old, new) for text, old, new in pairs if old.freedom > 0 and new.freedom > 0]
    differing = []
    for text, old, new in judged:
        limit = student.isf(level / 2 / len(judged), min(old.freedom, new.freedom))
        rounding = 0.001  # of the page
        if abs(old.mean - new.mean) > limit * float(np.hypot(old.error, new.error)) + rounding:
            differing.append(text)
    return Comparison(len(pairs), len(judged), differing)


def conclude(searches: list[Kept], *, check: bool, shown: bool) -> None:
    """Write the page and the picture, or print the page, or compare it with the stored one.

    Raises:
        SystemExit: There is nothing to compare, or some cells differ.
    """
    if not table_of(searches):
        raise SystemExit("There is nothing to compare: two methods at least must have run on all problems of a family.")
    path = published.RESULTS / f"{NAME}.md"
    if check:
        found = compared(stored(path.read_text(encoding="utf-8")), table_of(searches))
        print("\n".join(found.differing))
        if not found.judged:
            raise SystemExit("Nothing to compare: two seeds at least are needed, here and on the page.")
        print(f"{found.judged} of {found.shared} shared figures have intervals; {len(found.differing)} of them differ.")
        raise SystemExit(bool(found.differing))
    content = body(searches)
    if shown:
        print(content)
        return
    from benchmarks.harness.pictures import draw_families

    draw_families({title: by_curve(searches, title) for title in table_of(searches)}, published.RESULTS / f"{NAME}.png")
    print(published.publish(NAME, "The headline", COMMAND, content, kept.circumstances(searches)))


def by_curve(searches: list[Kept], family: str) -> dict[str, Array]:
    """Return each method's mean regret at equal parts of the budget, shape ``(n_marks,)``."""
    methods, curves = by_method(searches, family), dict[str, dict[str, list[list[float]]]]()
    for each in searches:
        if each.search.family == family and each.search.method in methods:
            curves.setdefault(each.search.method, {}).setdefault(each.search.problem, []).append(each.regrets)
    means = {method: [np.mean(runs, axis=0) for runs in problems.values()] for method, problems in curves.items()}
    return {method: np.mean(of_problems, axis=0) for method, of_problems in means.items()}
