"""Show a running search: a live view in a terminal or a notebook, otherwise a line at intervals.

A separate thread reads the study, so reports never wait for a view. This costs a training run little
(docs/decisions/0024), and an error in a view ends the view, never a training run.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal

from hpo_plugins._validation import choice
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.view.display import Display
from hpo_plugins.view.plain import PlainDisplay
from hpo_plugins.view.study_view import StudyView

logger = logging.getLogger("hpo_plugins")

ProgressMode = Literal["auto", "live", "plain", "off"]
MODES = ("auto", "live", "plain", "off")
VARIABLE = "HPO_PLUGINS_PROGRESS"
"""The environment variable that replaces the argument."""
MAX_SHARE = 0.01
"""Maximum share of the time for the view."""


class Progress:
    """Shows a search while it runs.

    Args:
        look: Returns the study as it is now.
        mode: Where to show it.
    """

    def __init__(self, look: Callable[[], StudyView], mode: ProgressMode) -> None:
        """Show nothing yet."""
        self._look = look
        self._mode = mode
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._depth = 0
        self._ended: set[int] | None = None

    def begin(self) -> None:
        """Start to show, unless it is shown already."""
        self._depth += 1
        if self._depth > 1 or self._mode == "off":
            return
        try:
            display = new_display(self._mode)
        except Exception:
            logger.debug("progress cannot be shown", exc_info=True)
            return
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(display,), name="hpo-plugins-view", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Do nothing: a separate thread updates the view."""

    def end(self) -> None:
        """Show the search for the last time."""
        self._depth -= 1
        if self._depth == 0 and self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _run(self, display: Display) -> None:
        """Look at the study until the end, seldom enough not to be noticed."""
        try:
            wait = display.delay
            while not self._stop.wait(wait):
                began = time.thread_time()
                self._show(display)
                wait = max(display.interval, (time.thread_time() - began) / MAX_SHARE)
            if display.shows_end:
                self._show(display)
        except Exception:  # a view must never end a training run
            logger.debug("progress is no longer shown", exc_info=True)
        finally:
            display.close()

    def _show(self, display: Display) -> None:
        view = self._look()
        final = {trial.number for trial in view.trials if trial.state.is_final}
        new = set() if self._ended is None else final - self._ended
        self._ended = final
        display.show(view, [view.trials[number] for number in sorted(new)])


def check_mode(progress: object) -> ProgressMode:
    """Return where to show progress: as in the environment variable, otherwise as in the argument.

    Raises:
        InvalidArgument: It is not a mode.
    """
    if isinstance(progress, bool):
        progress = "auto" if progress else "off"
    choice("progress", progress, MODES)
    given = os.environ.get(VARIABLE, "")
    if given and given not in MODES:
        raise InvalidArgument(f"{VARIABLE} must be one of {', '.join(MODES)}, but got {given!r}.")
    return given or progress  # type: ignore[return-value]  # both are checked


def new_display(mode: ProgressMode) -> Display:
    """Return a display for this process's surroundings."""
    if mode in ("auto", "live"):
        if _in_notebook():
            from hpo_plugins.view.notebook import NotebookDisplay

            return NotebookDisplay()
        try:
            from hpo_plugins.view.terminal import TerminalDisplay
        except ModuleNotFoundError:  # rich is not installed
            if mode == "live":
                logger.warning("progress='live' needs rich. Install it with: pip install 'hpo-plugins[cli]'")
        else:
            if mode == "live" or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb"):
                return TerminalDisplay()
    return PlainDisplay()


def _in_notebook() -> bool:
    """Return whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
