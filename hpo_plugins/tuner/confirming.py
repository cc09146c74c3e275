"""Confirm the winner of a search in a second study beside it; see ``study.confirmation``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from hpo_plugins._validation import whole_number
from hpo_plugins.coordination.opening import open_study
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument, NothingReported
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.space.finalists import FinalistSpace
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.remote import RemoteCheckpoints
from hpo_plugins.strategies import Confirmation
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.confirmation import (
    ClearlyBest,
    confirmation_name,
    finalists_of,
)
from hpo_plugins.view import StudyView

if TYPE_CHECKING:
    import os

MAX_FINALISTS = 20


def open_confirmation(
    view: StudyView, session: StudySession, top: int, repeats: int, confidence: float
) -> tuple[str, StudySession]:
    """Return the name and a session of the study that confirms the best trials of a search; create it if it is new.

    Args:
        view: The search.
        session: Its session.
        top: Number of finalists.
        repeats: Maximum number of repeats of each.
        confidence: The probability of the best one at which it is clear.

    Raises:
        InvalidArgument: An argument is wrong, or the search cannot be confirmed.
        NothingReported: No trial has a value.
    """
    top = whole_number("top", top, at_least=1, at_most=MAX_FINALISTS)
    repeats = whole_number("repeats", repeats, at_least=1)
    clear = ClearlyBest(confidence)
    config, storage = session.config, session.storage
    if isinstance(config.space, DefinitionSpace):
        raise InvalidArgument("confirm() needs a search with one training definition, but this one has several.")
    if isinstance(config.space, FinalistSpace):
        raise InvalidArgument("confirm() must be called on the search, but this study confirms one already.")
    if storage is None:
        raise InvalidArgument("confirm() must be called in the process that has made or loaded the tuner.")
    if config.further_objectives:
        raise InvalidArgument(
            f"confirm() needs a search with one objective, but this one has {list(config.objectives)}. Train those of "
            "best_trials again that matter to you."
        )
    finalists = finalists_of(view.feasible, top)
    if not finalists:
        raise NothingReported(f"No trial of study {view.name!r} has a value yet, so there is nothing to confirm.")
    name = confirmation_name(view.name, [record.number for record in finalists])
    confirming = StudyConfig(
        space=FinalistSpace({record.number: record.params for record in finalists}, repeats),
        objective=config.objective,
        early_stopping=None,
        strategy=Confirmation(config.strategy.max_resource),
        seed=int.from_bytes(hashlib.sha256(f"confirm {config.seed}".encode()).digest()[:4], "big"),
        stop_when=(clear,),
        max_parallel=config.max_parallel,
        notes={"confirms": view.name},
    )
    return name, open_study(
        confirming,
        name,
        storage,
        keeps_seed=True,
        checkpoint_dir=_own_folder(view.name, session),
        policy=session.checkpoints.policy,
        terms=session.terms,
    )


def _own_folder(name: str, session: StudySession) -> str | os.PathLike[str] | None:
    """Return the folder or URL that the search was given for its checkpoints, None for the storage's own place."""
    if isinstance(session.checkpoints, RemoteCheckpoints):
        return session.checkpoints.url
    root, storage = session.checkpoints.root, session.storage
    if storage is None or root == Path(storage.checkpoint_root(name)).absolute():
        return None
    return root.parent if root.name == folder_name(name) else None
