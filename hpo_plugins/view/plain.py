"""Progress in plain lines, for pipes and CI."""

from __future__ import annotations

import sys
import time

from hpo_plugins._text import printable
from hpo_plugins.records import TrialRecord
from hpo_plugins.view.display import Display
from hpo_plugins.view.study_view import StudyView


class PlainDisplay(Display):
    """Prints a line at intervals, for pipes and CI; a short search prints nothing."""

    interval = delay = 30.0

    def __init__(self) -> None:
        """Print nothing yet."""
        self._line = ""

    @property
    def shows_end(self) -> bool:
        """Whether a line was printed before."""
        return bool(self._line)

    def show(self, view: StudyView, ended: list[TrialRecord]) -> None:  # noqa: ARG002
        """Print the line, if something has changed."""
        line = plain_line(view)
        if line != self._line:
            self._line = line
            sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {line}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Print nothing more: the last line was printed by ``show``."""


def _further(view: StudyView) -> str:
    """Return the best trial's values of the other goals."""
    values = {} if view.best is None else view.further_values(view.best)
    return "".join(f", {name} {value:.6g}" for name, value in values.items())


def plain_line(view: StudyView) -> str:
    """Return the study in one line."""
    of = "" if view.limit is None else f" of {view.limit}"
    counts = ", ".join(f"{count} {state}" for state, count in view.counts.items())
    parts = [f"{view.name}: {len(view.trials)}{of} trials ({counts or 'none yet'})"]
    if view.best is not None:
        parts.append(f"best {view.objective.metric} {view.best.value:.6g} (trial {view.best.number}{_further(view)})")
    elif view.headline is not None:
        parts.append(view.headline.rstrip("."))
    parts.append(f"{view.epochs:,} epochs")
    return printable(", ".join(parts))
