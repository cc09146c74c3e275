"""The live view in a terminal, through rich.

The training run's output stays above it; its progress bars become the last lines of the view.
"""

from __future__ import annotations

import atexit
import io
import logging
import sys
import threading
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo_plugins._text import printable
from hpo_plugins.coordination.process import watch_forks
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.view import words
from hpo_plugins.view.display import Display
from hpo_plugins.view.screen import Screen
from hpo_plugins.view.study_view import StudyView

COLORS = {
    TrialState.COMPLETED: "green",
    TrialState.STOPPED: "yellow",
    TrialState.PAUSED: "cyan",
    TrialState.RUNNING: "blue",
    TrialState.FAILED: "red",
}


REFRESH_SECONDS = 0.25


class _Console(Console):
    """A console that leaves the cursor where it is seen: a killed process could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return super().show_cursor(show) if show else False


class TerminalDisplay(Display):
    """A view of a few lines at the bottom of the terminal."""

    def __init__(self) -> None:
        """Take over the standard streams."""
        self._console = _Console(file=sys.stderr, force_terminal=True)
        self._lock = threading.RLock()
        self._view: StudyView | None = None
        self._screens: list[tuple[str, Any, _Stream]] = []
        # Rich's own refreshing thread and a print from another thread can tear the view: both move the cursor up by
        # the height of the same frame. So all writes are ordered here.
        self._live = Live(
            get_renderable=self._render, console=self._console, auto_refresh=False, redirect_stdout=False,
            redirect_stderr=False, vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            ours = _Stream(stream, Screen(self._emit), self._lock)
            self._screens.append((name, stream, ours))
            setattr(sys, name, ours)
            _redirect_logging(stream, ours)
        self._closed = threading.Event()
        threading.Thread(target=self._refresh, name="hpo-plugins-refresh", daemon=True).start()
        atexit.register(self.close)
        watch_forks(self)

    def _emit(self, line: str) -> None:
        """Print a line of the training run above the view."""
        self._console.print(Text.from_ansi(line), soft_wrap=True)

    def show(self, view: StudyView, ended: list[TrialRecord]) -> None:
        """Print a line for each trial that has ended, and update the view."""
        with self._lock:
            self._view = view
            for trial in ended:
                line = Text(words.outcome(trial), style=COLORS[trial.state])
                self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _refresh(self) -> None:
        while not self._closed.wait(REFRESH_SECONDS):
            with self._lock:
                if not self._closed.is_set():
                    self._live.refresh()

    def before_fork(self) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        """Restore a forked child's streams; the view's thread stays with the parent."""
        self._give_back()

    def close(self) -> None:
        """Leave the last view, and restore the streams."""
        if not self._screens:
            return
        with self._lock:
            self._closed.set()
            for _, _, ours in self._screens:
                ours.screen.flush()
            self._give_back()
            self._live.stop()
        atexit.unregister(self.close)

    def _give_back(self) -> None:
        for name, stream, ours in self._screens:
            if getattr(sys, name) is ours:
                setattr(sys, name, stream)
            _redirect_logging(ours, stream)
        self._screens = []

    def _render(self) -> RenderableType:
        if self._view is None:
            return Text("")
        width = self._console.width
        bars = [Text.from_ansi(line[:width]) for _, _, ours in self._screens for line in ours.screen.lines]
        return Group(Text(""), render(self._view, width), *bars)


def _redirect_logging(old: Any, new: Any) -> None:
    """Let the handlers of all loggers write to another stream: most keep the one that there was when they were made."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.stream = new


def render(view: StudyView, width: int) -> RenderableType:
    """Return a study as a few lines.

    Args:
        view: The study.
        width: The terminal's width, in characters.
    """
    left = words.time_left(view.n_ended, view.limit, view.runtime)
    head = Text(f"{printable(view.name)}  ", style="bold")
    head.append(f"{len(view.trials)}{'' if view.limit is None else f' of {view.limit}'} trials", style="default")
    head.append(f"  {words.duration(view.runtime)}", style="dim")
    if left is not None:
        head.append(f"  about {words.duration(left)} left", style="dim")
    lines: list[RenderableType] = [head]
    if view.limit:
        bar = Table.grid()
        bar.add_row(ProgressBar(total=view.limit, completed=view.n_ended, width=min(width, 60)))
        lines.append(bar)
    lines.append(_states(view))
    if view.best is not None:
        best = Text("best ", style="dim")
        best.append(f"{view.best.value:.6g}", style="bold green")
        best.append(f" {printable(view.objective.metric)}, trial {view.best.number}  ", style="dim")
        best.append(words.configuration(view.best.params, max(10, width - best.cell_len)))
        lines.append(best)
    elif view.headline is not None:
        style = "bold green" if view.front else "dim"
        lines.append(Text(words.shortened(printable(view.headline), max(10, width)), style=style))
    lines.append(_epochs(view))
    if view.milestones:
        lines.append(_milestones(view, width))
    return Group(*lines)


def _states(view: StudyView) -> Text:
    text = Text()
    colors = {state.value: color for state, color in COLORS.items()} | {"waiting": "magenta"}
    for state, count in view.counts.items():
        text.append(f"{count} ", style=f"bold {colors[state]}")
        text.append(f"{state}  ", style="dim")
    return text


def _epochs(view: StudyView) -> Text:
    text = Text(f"{view.epochs:,} ", style="bold")
    text.append("epochs trained", style="dim")
    whole = view.epochs_of_full_trainings
    if whole and whole > view.epochs:
        text.append(f", {whole - view.epochs:,} saved so far ({1 - view.epochs / whole:.0%})", style="dim")
    return text


def _milestones(view: StudyView, width: int) -> RenderableType:
    """Return how many trials have reached each milestone, as bars; a few if there are many."""
    reached = view.on_milestones()
    if len(reached) > 6:
        reached = reached[:: (len(reached) + 5) // 6]
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column()
    most = max((count for _, count in reached), default=0) or 1
    for epoch, count in reached:
        bar = ProgressBar(most, count, width=min(24, max(4, width - 24)))
        table.add_row(Text(f"epoch {epoch}", style="dim"), Text(str(count)), bar)
    return table


class _Stream(io.TextIOBase):
    """A standard stream whose text goes to a screen; everything else is the stream's own."""

    def __init__(self, stream: Any, screen: Screen, lock: Any) -> None:
        self._stream = stream
        self.screen = screen
        self._lock = lock

    def write(self, text: str) -> int:
        with self._lock:
            self.screen.write(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: rich flushes the terminal."""

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._stream.encoding)
