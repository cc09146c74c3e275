"""Learn how the body of a ``for`` loop was left: by ``break`` or ``return``, or by which exception.

A generator that a loop leaves is only closed: Python tells it nothing of the exception that is under way, although
a failed trial must be told from a finished one. So, once the loop has been left and never before, the interpreter's
trace function looks at the very next steps of the frame that held the loop:

* Two instructions of that frame pass without an exception: the loop was left by ``break`` or ``return``. (One is not
  enough: the first instruction of a handler is what makes the exception visible.)
* An exception becomes visible: it is the one.
* The frame ends without an instruction: an exception is on its way to the caller, which is watched next. Where
  nobody called, the exception goes to ``sys.excepthook``.

Nothing is traced while trainings run. A trace function that was set before, of a debugger or of a coverage
measurement, is put back at once.
"""

from __future__ import annotations

import dis
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
    while _is_closed_from_outside(frame) and frame.f_back is not None:
        frame = frame.f_back  # a generator around the loop is itself being left: by its own user's loop
    _Watch(frame, handled, settle).begin()


def _is_closed_from_outside(frame: FrameType) -> bool:
    """Return whether the frame is a generator's, and the exception under way was thrown in at its ``yield``."""
    instruction = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return instruction in ("YIELD_VALUE", "RESUME")


class _Watch:
    def __init__(self, frame: FrameType, handled: BaseException | None, settle: Settle) -> None:
        self._frame = frame
        self._handled = handled
        self._settle = settle
        self._instructions = 0
        self._tracer = sys.gettrace()
        self._touched: list[tuple[FrameType, Any, bool]] = []

    def begin(self) -> None:
        self._attach(self._frame)
        sys.settrace(self._step)

    def _attach(self, frame: FrameType) -> None:
        self._frame = frame
        self._instructions = 0
        self._touched.append((frame, frame.f_trace, frame.f_trace_opcodes))
        frame.f_trace = self._step
        frame.f_trace_opcodes = True

    def _end(self) -> None:
        sys.settrace(self._tracer)
        for frame, trace, opcodes in self._touched:
            frame.f_trace = trace
            frame.f_trace_opcodes = opcodes

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        error = argument[1] if event == "exception" else sys.exc_info()[1]
        if error is not None and error is not self._handled:
            self._end()
            self._settle(error)
        elif frame is not self._frame:
            return self._step
        elif event == "return" and not self._instructions:
            if frame.f_back is not None:
                self._attach(frame.f_back)
            else:
                self._end()
                _at_top_level(self._settle)
        elif event in ("opcode", "return"):
            self._instructions += 1
            if self._instructions == 2 or event == "return":
                self._end()
                self._settle(None)
        return self._step


def _at_top_level(settle: Settle) -> None:
    """Take the exception from the hook to which the interpreter gives it next."""
    hook = sys.excepthook

    def once(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = hook
        settle(error)
        hook(kind, error, traceback)

    sys.excepthook = once
