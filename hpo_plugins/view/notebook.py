"""The live view in a notebook: one HTML output that is updated."""

from __future__ import annotations

from html import escape
from typing import Any

from hpo_plugins.records import TrialRecord
from hpo_plugins.view import words
from hpo_plugins.view.display import Display
from hpo_plugins.view.study_view import StudyView


class NotebookDisplay(Display):
    """One output cell, which every look at the study replaces."""

    interval = 1.0

    def __init__(self) -> None:
        """Show nothing yet."""
        self._handle: Any = None
        self._ended: list[TrialRecord] = []

    def show(self, view: StudyView, ended: list[TrialRecord]) -> None:
        """Update the output."""
        from IPython.display import HTML, display

        self._ended = [*self._ended, *ended][-5:]
        content = HTML(as_html(view, self._ended))
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)

    def close(self) -> None:
        """Leave the last output."""


def as_html(view: StudyView, ended: list[TrialRecord]) -> str:
    """Return a study as a small piece of HTML.

    Args:
        view: The study.
        ended: The trials that have ended last.
    """
    of = "" if view.limit is None else f" of {view.limit}"
    share = f"<progress max={view.limit} value={view.n_ended}></progress>" if view.limit else ""
    counts = ", ".join(f"<b>{count}</b> {state}" for state, count in view.counts.items())
    rows = [f"<b>{escape(view.name)}</b> {len(view.trials)}{of} trials {share} {words.duration(view.runtime)}", counts]
    if view.best is not None:
        params = escape(words.configuration(view.best.params))
        metric = escape(view.objective.metric)
        rows.append(f"best {metric} <b>{view.best.value:.6g}</b>, trial {view.best.number}: <code>{params}</code>")
    rows.append(f"{view.epochs:,} epochs trained")
    rows += [f"<small>{escape(words.outcome(trial))}</small>" for trial in ended]
    return "<div>" + "".join(f"<div>{row}</div>" for row in rows) + "</div>"
