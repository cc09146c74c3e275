"""Learn how the body of a ``for`` loop was left: by ``break`` or ``return``, or by which exception.

A generator that a loop leaves is only closed: Python tells it nothing of the exception that is under way, although
a failed trial must be told from a finished one. So, once the loop has been left and never before, the interpreter's
trace function looks at the very next steps of the frame that held the loop:

* Two instructions of that frame pass without an exception: the loop was left by ``break`` or ``return``. (One is not
  enough: the first instruction of a handler is what makes the exception visible.)
* An exception becomes visible in that frame or in its caller: it is the one.
* The frame ends without an instruction, and nobody called it: the exception goes to ``sys.excepthook``.

Nothing is traced while trainings run. A trace function that was set before, of a debugger or of a coverage
measurement, is put back at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

Settle = Callable[[BaseException | None], None]


def watch(frame: FrameType, handled: BaseException | None, settle: Settle) -> None:
    """Call ``settle`` with the exception by which the loop in ``frame`` was left, or with None.

    Args:
        frame: The frame whose loop is being left, now: call this where a generator gets ``GeneratorExit``.
        handled: The exception that was being handled around the loop, which is not the one looked for.
        settle: Called once; after an exception that nobody handles, just before the interpreter shows it.
    """
    _Watch(frame, handled, settle).begin()


class _Watch:
    def __init__(self, frame: FrameType, handled: BaseException | None, settle: Settle) -> None:
        self._frame = frame
        self._handled = handled
        self._settle = settle
        self._instructions = 0
        self._tracer = sys.gettrace()
        self._before: list[tuple[FrameType, Any, bool]] = []

    def begin(self) -> None:
        for frame in (self._frame, self._frame.f_back):
            if frame is not None:
                self._before.append((frame, frame.f_trace, frame.f_trace_opcodes))
                frame.f_trace = self._step
        self._frame.f_trace_opcodes = True
        sys.settrace(self._step)

    def _end(self) -> None:
        sys.settrace(self._tracer)
        for frame, trace, opcodes in self._before:
            frame.f_trace = trace
            frame.f_trace_opcodes = opcodes

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        error = argument[1] if event == "exception" else sys.exc_info()[1]
        if error is not None and error is not self._handled:
            return self._found(frame, error)
        if frame is self._frame:
            if event == "opcode":
                self._instructions += 1
            left_normally = self._instructions == 2 or (event == "return" and self._instructions)
            if left_normally:
                self._end()
                self._settle(None)
                return None
            if event == "return" and frame.f_back is None:
                self._end()
                _at_top_level(self._settle)
                return None
        return self._step

    def _found(self, frame: FrameType, error: BaseException) -> Any:
        self._end()
        outer = frame.f_back
        if isinstance(error, GeneratorExit) and frame is self._frame and outer is not None:
            watch(outer, self._handled, self._settle)  # a generator around ours is being left: look one frame out
        else:
            self._settle(error)


def _at_top_level(settle: Settle) -> None:
    """Take the exception from the hook to which the interpreter gives it next."""
    hook = sys.excepthook

    def once(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = hook
        settle(error)
        hook(kind, error, traceback)

    sys.excepthook = once
