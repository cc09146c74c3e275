"""The interface of displays of a search's progress."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hpo_plugins.records import TrialRecord
from hpo_plugins.view.study_view import StudyView

INTERVAL = 0.5
"""Seconds between two looks at the study, at least."""


class Display(ABC):
    """Where progress is shown."""

    interval = INTERVAL
    delay = 0.0
    """Seconds before the first look."""

    @property
    def shows_end(self) -> bool:
        """Whether to look once more when the search is over."""
        return True

    @abstractmethod
    def show(self, view: StudyView, ended: list[TrialRecord]) -> None:
        """Show the study as it is now.

        Args:
            view: The study.
            ended: The trials that have ended since the last call.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the display as it should stay."""
