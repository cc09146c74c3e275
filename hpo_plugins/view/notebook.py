"""The live view in a notebook: one HTML output that is updated."""

from __future__ import annotations

from html import escape
from typing import Any

from hpo_plugins._text import printable
from hpo_plugins.records import TrialRecord
from hpo_plugins.view import words
from hpo_plugins.view.display import Display
from hpo_plugins.view.study_view import StudyView

N_BEST = 5
"""Trials of a table."""


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


def as_table(view: StudyView) -> str:
    """Return a study as it is shown when a cell of a notebook returns it: its state and its best trials.

    Args:
        view: The study.
    """
    best = view.ranked[:N_BEST]
    names = [name for name in view.space if any(name in trial.params for trial in best)]
    further = [] if view.goals is None else [name for name in view.goals.metrics if name != view.objective.metric]
    titles = ("trial", "state", view.objective.metric, *further, "epochs", *names)
    head = "".join(f"<th>{_html(text)}</th>" for text in titles)
    cells = [_cells(trial, further, names) for trial in best]
    rows = "".join(f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in row)}</tr>" for row in cells)
    table = f"<table><tr>{head}</tr>{rows}</table>" if best else ""
    return as_html(view, []) + table


def _html(text: str) -> str:
    return escape(printable(text))


def _cells(trial: TrialRecord, further: list[str], names: list[str]) -> list[str]:
    goals = [f"{trial.values[name]:.6g}" if name in trial.values else "" for name in further]
    values = [words.number(trial.params[name]) if name in trial.params else "" for name in names]
    return [str(trial.number), trial.state.value, f"{trial.value:.6g}", *goals, str(trial.epochs), *values]


def as_html(view: StudyView, ended: list[TrialRecord]) -> str:
    """Return a study as a small piece of HTML.

    Args:
        view: The study.
        ended: The trials that have ended last.
    """
    of = "" if view.limit is None else f" of {view.limit}"
    share = f"<progress max={view.limit} value={view.n_ended}></progress>" if view.limit else ""
    counts = ", ".join(f"<b>{count}</b> {state}" for state, count in view.counts.items())
    rows = [f"<b>{_html(view.name)}</b> {len(view.trials)}{of} trials {share} {words.duration(view.runtime)}", counts]
    if view.best is not None:
        params = _html(words.configuration(view.best.params))
        metric = _html(view.objective.metric)
        rows.append(f"best {metric} <b>{view.best.value:.6g}</b>, trial {view.best.number}: <code>{params}</code>")
    elif view.headline is not None:
        rows.append(_html(view.headline))
    rows.append(f"{view.epochs:,} epochs trained")
    rows += [f"<small>{_html(words.outcome(trial))}</small>" for trial in ended]
    return "<div>" + "".join(f"<div>{row}</div>" for row in rows) + "</div>"
