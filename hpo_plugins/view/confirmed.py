"""A study's view after its finalists were trained again; see ``study.confirmation``."""

from __future__ import annotations

from dataclasses import replace

from hpo_plugins.coordination.opening import load_study
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history import History
from hpo_plugins.records import TrialRecord
from hpo_plugins.space.finalists import FinalistSpace
from hpo_plugins.study.confirmation import Confirmed, confirmations_of, standings
from hpo_plugins.view.study_view import StudyView


def confirmed_view(session: StudySession, name: str) -> StudyView:
    """Return a view of a study as it is now, with what its newest confirmation has found.

    Args:
        session: The study.
        name: Its name.

    Raises:
        StorageError: The storage cannot be read.
    """
    view = StudyView.of(session, name)
    confirmation, is_over = confirmation_of(name, session)
    best = best_of(view.best, confirmation if is_over else (), view.history)
    return replace(view, confirmation=confirmation, best=best) if confirmation else view


def confirmation_of(name: str, session: StudySession) -> tuple[tuple[Confirmed, ...], bool]:
    """Return what the newest confirmation of a search has found, and whether it is over; nothing without one.

    Args:
        name: The search.
        session: Its session.
    """
    storage = session.storage
    if storage is None or isinstance(session.config.space, FinalistSpace):
        return (), False
    found = confirmations_of(name, storage.names())
    if not found:
        return (), False
    _, confirming = load_study(storage, found[-1], None)
    return standings(confirming.refresh()), confirming.is_done()


def best_of(best: TrialRecord | None, confirmation: tuple[Confirmed, ...], history: History) -> TrialRecord | None:
    """Return the best trial after a confirmation: its winner, unless the search has found something better since.

    Args:
        best: The best trial of the search.
        confirmation: The finalists of a confirmation that is over, the best first.
        history: The search.
    """
    if best is None or not confirmation or confirmation[0].mean is None:
        return best
    is_current = best.parent is None and best.number in [each.number for each in confirmation]
    return history.record(confirmation[0].number) if is_current else best
