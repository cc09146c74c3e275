"""Results as files: ``benchmarks/results/NAME.md``, each with commit, date, machine and command in its head.

The three tables of ``benchmarks/README.md`` are made from these files, between ``<!-- headline: NAME -->`` and
``<!-- end -->``.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "benchmarks" / "README.md"
HEAD = ("commit", "date", "machine", "command")
OURS = {
    "real_trainings": ("hyperband", "bayesian, stop", "bayesian, pause", "hyperband, random", "random"),
    "lcbench": ("hyperband", "bayesian, stop", "bayesian, pause", "hyperband, random", "random"),
    "black_box": ("bayesian", "random"),
}
"""By headline table: this library's methods that it shows, beside the best peers."""
N_PEERS = 4
"""Other libraries' methods in a headline table: those that end best."""


def machine() -> str:
    """Return what this machine is, in words: its cores and its processor's model."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return f"{os.cpu_count()} cores, {model[1].strip() if model else platform.processor() or platform.machine()}"


def commit() -> str:
    """Return the commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty= with changes", "--exclude=*"]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ended.stdout.strip()


def circumstances() -> list[str]:
    """Return the commit, the date and the machine of now."""
    return [commit(), f"{datetime.now(UTC):%Y-%m-%d}", machine()]


def head(command: str, measured: Sequence[Sequence[str]]) -> str:
    """Return the table that says with which commit, when, where and how a result was measured, a line each."""
    lines = [f"| `{commit}` | {date} | {machine} | `{command}` |" for commit, date, machine in measured]
    return "\n".join(["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *lines])


def publish(name: str, title: str, command: str, body: str, measured: Sequence[Sequence[str]] = ()) -> Path:
    """Write a result with its head, and return its path.

    Args:
        name: Of the file, without ``.md``.
        title: The page's heading.
        command: The command that measured it.
        body: The tables in Markdown; lines without any table are shown as they are.
        measured: Commit, date and machine of each part; none: those of now.
    """
    shown = body.strip() if "|---" in body else f"```text\n{body.strip()}\n```"
    path = RESULTS / f"{name}.md"
    path.write_text(f"# {title}\n\n{head(command, measured or [circumstances()])}\n\n{shown}\n", encoding="utf-8")
    return path


def rows(text: str) -> dict[str, dict[str, str]]:
    """Return the rows of all tables of regrets by method, columns by name; of equal methods, the first row."""
    found: dict[str, dict[str, str]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        columns, _, *lines = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in table.splitlines()]
        if columns[0] == "method" and any(column.startswith("@") for column in columns):
            for line in lines:
                found.setdefault(line[0], dict(zip(columns, line, strict=False)))
    return found


def headline(name: str, text: str) -> str:
    """Return the short table of a result: this library's methods and the best peers, those that end best first."""
    known = rows(text)
    marks = [column for column in next(iter(known.values())) if column.startswith("@")]

    def final(method: str) -> float:
        return float(known[method][marks[-1]].split()[0])

    ours = [method for method in OURS[name] if method in known]
    peers = sorted((m for m in known if not m.startswith(("bayesian", "hyperband", "random", "oracle"))), key=final)
    chosen = sorted([*ours, *peers[:N_PEERS]], key=final)
    lines = [["method", "problems x seeds", *marks], ["---"] * (len(marks) + 2)]
    lines += [[method, *(known[method].get(column, "") for column in lines[0][1:])] for method in chosen]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(text: str, name: str, content: str) -> str:
    """Return the README with the content in the place of a headline table.

    Raises:
        SystemExit: It has no such place.
    """
    place = re.compile(rf"(<!-- headline: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
        raise SystemExit(f"{README.name} has no place for {name!r}: <!-- headline: {name} --> and <!-- end -->.")
    return place.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def with_headlines(text: str) -> str:
    """Return the README with its tables regenerated from ``benchmarks/results/``."""
    for name in OURS:
        text = put(text, name, headline(name, (RESULTS / f"{name}.md").read_text(encoding="utf-8")))
    return text
