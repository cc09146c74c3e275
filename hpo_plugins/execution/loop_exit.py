"""Find out how a ``for`` loop was left: by ``break`` or ``return``, or by which exception.

When a loop is left, Python only closes its generator, and hides an exception that is propagating. But a failed trial
must be distinguished from a finished one. Therefore, once the loop has been left and never before, a trace function
observes the next steps of the frame that contains the loop:

* Two instructions of the frame are executed without an exception: the loop was left by ``break`` or ``return``. (One
  is not enough: the first instruction of an exception handler is what makes the exception visible.)
* An exception becomes visible: the loop was left by it.
* The frame ends without executing an instruction: an exception is propagating to the caller, which is observed next.
  If there is no caller, the exception goes to ``sys.excepthook``.

Nothing is traced during training. A trace function that was set before, such as a debugger's or a coverage
tool's, is restored at once.
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
        frame: The frame whose loop is being left: call this when the generator gets ``GeneratorExit``.
        handled: The exception that was already being handled around the loop, which is not the one sought.
        settle: Called once; for an exception that nobody handles, just before the interpreter prints it.
    """
    while _is_closed_from_outside(frame) and frame.f_back is not None:
        frame = frame.f_back  # the user's loop over an enclosing generator closes that generator
    _Watch(frame, handled, settle).begin()


def _is_closed_from_outside(frame: FrameType) -> bool:
    """Return whether the frame belongs to a generator that is being closed at its ``yield``."""
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
    """Take the exception from the hook that the interpreter calls next."""
    hook = sys.excepthook

    def once(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = hook
        settle(error)
        hook(kind, error, traceback)

    sys.excepthook = once
