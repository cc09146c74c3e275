"""Finished searches, one JSON line each: a run that was killed goes on, and several environments share a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import published


class Search(NamedTuple):
    """What is run: a method on a problem of a family, with a seed."""

    family: str
    problem: str
    method: str
    seed: int


class Kept(NamedTuple):
    """A finished search.

    Attributes:
        search: What was run.
        regrets: At equal parts of the budget.
        seconds: CPU seconds of the search itself.
        asked: How many trials it handed out.
        cpu: CPU seconds with its training runs.
        library: Name and version of the library.
        measured: Commit, date and machine.
    """

    search: Search
    regrets: list[float]
    seconds: float
    asked: int
    cpu: float
    library: str
    measured: tuple[str, str, str]

    def at(self, part: float) -> float:
        """Return the regret when that part of the budget is spent: of what was finished by then."""
        return self.regrets[max(int(part * len(self.regrets) + 1e-9), 1) - 1]


def append(path: Path, kept: Kept) -> None:
    """Write a finished search to the end of the file."""
    rounded = kept._replace(regrets=[round(value, 5) for value in kept.regrets])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded._asdict()) + "\n")


def read(path: Path) -> list[Kept]:
    """Return the finished searches of a file, of equal ones the last; a line that was cut off by a kill is left out."""
    found: dict[Search, Kept] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines):
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines) - 1:
                break
            raise SystemExit(
                f"{path}, line {number + 1} is no JSON: remove the line, its search is run again."
            ) from None
        kept = Kept(**{**fields, "search": Search(*fields["search"]), "measured": tuple(fields["measured"])})
        found[kept.search] = kept
    return list(found.values())


def mended(path: Path) -> None:
    """Remove a last line that was cut off, so that what is appended begins a line of its own."""
    if path.exists() and (text := path.read_text(encoding="utf-8")) and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")


def circumstances(searches: Iterable[Kept]) -> list[tuple[str, str, str]]:
    """Return commit, date and machine of all searches, each once."""
    return list(dict.fromkeys(kept.measured for kept in searches))


def now() -> tuple[str, str, str]:
    """Return commit, date and machine of now."""
    commit, date, machine = published.circumstances()
    return commit, date, machine
