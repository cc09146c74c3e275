"""Phases: the successive calls of a framework's ``fit`` that form one training run.

Epochs are counted across the phases. When a training run resumes, its script makes the same calls again. Finished
phases train nothing, the interrupted phase continues from the checkpoint, and later phases run as usual.

A phase that begins while the training run must stop trains nothing. It is counted only if the phase before it was
complete. Otherwise the training run resumes within the phase before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Phase:
    """One phase of a training run, as ``Trial.begin_phase`` returns it.

    Attributes:
        number: Its number in the attempt, from 0.
        begin: The trial's epoch after which it began.
        start: The trial's epoch after which it trains now, later than ``begin`` if it resumes from a checkpoint.
        is_over: Whether it trains nothing, because it ended before the interruption or the trial must stop.
        restores: Whether it restores the checkpoint's state.
        checkpoint: Path of that checkpoint in its own phase and in earlier phases, otherwise None.
    """

    number: int
    begin: int
    start: int
    is_over: bool
    restores: bool
    checkpoint: str | None = None

    @property
    def trained(self) -> int:
        """Number of epochs of this phase that are already trained."""
        return self.start - self.begin


@dataclass
class Phases:
    """The phases of one training run in one attempt.

    Args:
        saved: The epoch of the checkpoint that the attempt resumes from, 0 without one.
        earlier: The epochs after which the phases of earlier attempts began.

    Attributes:
        begins: The epochs after which this attempt's phases began.
        is_complete: Whether the last phase has trained all its epochs, or the framework or the user has ended it.
        is_waiting: Whether a phase was skipped because the training run must stop.
    """

    saved: int = 0
    earlier: Sequence[int] = ()
    begins: list[int] = field(default_factory=list)
    is_complete: bool = False
    is_waiting: bool = False

    @property
    def interrupted(self) -> int | None:
        """The number of the checkpoint's phase, None without a checkpoint."""
        if not self.saved:
            return None
        return max((number for number, begin in enumerate(self.earlier) if begin < self.saved), default=0)

    @property
    def is_resuming(self) -> bool:
        """Whether the interrupted phase has not begun yet in this attempt."""
        return self.interrupted is not None and len(self.begins) <= self.interrupted

    @property
    def known(self) -> tuple[int, ...]:
        """The begins to store: those of this attempt, and those of earlier attempts up to the checkpoint."""
        n_saved = sum(begin <= self.saved for begin in self.earlier) if self.saved else 0
        return (*self.begins, *self.earlier[len(self.begins) : n_saved])

    def begin(self, epoch: int, *, must_stop: bool) -> Phase:
        """Begin the next phase.

        Args:
            epoch: The epoch after which it begins, if it was not known before.
            must_stop: Whether the training run is to stop.
        """
        number, interrupted = len(self.begins), self.interrupted
        if must_stop and number:
            self.is_waiting = True
            if not self.is_complete:
                return Phase(number, epoch, epoch, is_over=True, restores=False)
        self.is_complete = False
        if interrupted is not None and number <= interrupted:
            begin = self.earlier[number] if number < len(self.earlier) else 0
            restores = number == interrupted
            following = self.earlier[number + 1 : number + 2]  # it may have begun after the checkpoint
            was_over = not restores or any(other <= self.saved for other in following)
            phase = Phase(number, begin, self.saved, was_over or must_stop, restores)
            self.is_complete = was_over
        else:
            phase = Phase(number, epoch, epoch, must_stop, restores=False)
        self.begins.append(phase.begin)
        return phase
