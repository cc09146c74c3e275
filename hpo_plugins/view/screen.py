"""The last lines of what a training run prints, as a terminal would show them.

Progress bars do not print lines: they return to the start of their line, or move up over several, and write again.
Beside a live view, that would tear both. Therefore, the output of a training run goes through a ``Screen``. It keeps
the few lines that can still change, for the view to show, and emits those that cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable

HEIGHT = 4
"""Number of lines that can still change: as many bars as frameworks show below each other."""

_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n\b])|([^\x1b\r\n\b]+)|\x1b.?")


class Screen:
    """The lines of a stream that can still change.

    Args:
        emit: Called with each line that can change no more, in order.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        """Start with an empty line."""
        self._emit = emit
        self._lines = [""]
        self._row = 0
        self._column = 0
        self._bars = False

    @property
    def lines(self) -> list[str]:
        """The lines that can still change, without empty ones."""
        return [line.rstrip() for line in self._lines if line.strip()]

    def write(self, text: str) -> None:
        """Take what was written to the stream."""
        for arguments, command, control, plain in _PART.findall(text):
            if plain:
                line = self._lines[self._row].ljust(self._column)
                self._lines[self._row] = line[: self._column] + plain + line[self._column + len(plain) :]
                self._column += len(plain)
            elif control == "\n":
                self._down()
            elif control:
                self._bars = True
                self._column = 0 if control == "\r" else max(0, self._column - 1)
            elif command:
                self._command(command, arguments)
        if not self._bars:
            self._settle(keep=1)

    def _down(self, count: int = 1) -> None:
        self._row += count
        self._column = 0
        self._lines += [""] * (self._row + 1 - len(self._lines))
        self._settle(keep=HEIGHT)

    def _command(self, command: str, arguments: str) -> None:
        """Apply the control sequences of bars: move up and down, and erase."""
        count = int(arguments) if arguments.isdigit() else 1
        if command in "AF":
            self._bars = True
            self._row = max(0, self._row - count)
            self._column = self._column if command == "A" else 0
        elif command in "BE":
            self._down(count)
        elif command == "K":
            kept = "" if arguments == "2" else self._lines[self._row][: self._column]
            self._lines[self._row] = kept
        elif command == "J":
            del self._lines[self._row + 1 :]
            self._lines[self._row] = self._lines[self._row][: self._column]

    def _settle(self, keep: int) -> None:
        """Emit the lines that are too far above to be changed."""
        while len(self._lines) > keep and self._row > 0:
            self._emit(self._lines.pop(0))
            self._row -= 1

    def flush(self) -> None:
        """Emit the remaining lines, at the end."""
        for line in self.lines:
            self._emit(line)
        self._lines, self._row, self._column, self._bars = [""], 0, 0, False
