"""Enqueued configurations, complete or partial; they are tried before those of the strategy.

They are numbered: first those of the study's definition, then those of ``Tuner.enqueue``. A trial stores the number of
its own. Acquisitions are serialized, so that each configuration is assigned once over all processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.space import Params, Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.space.valid_configurations import N_DRAWS
from hpo_plugins.study.initial_configurations import checked_configuration

_MAX_DRAWS = 1_000
"""Number of random completions of a partial configuration to check before it counts as fully tried."""


class Enqueued(NamedTuple):
    """A complete configuration to try next, and the number of the enqueued one that it completes."""

    params: Params
    number: int


def next_enqueued(session: StudySession) -> Enqueued | None:
    """Return the first enqueued configuration that no trial has, None if there is none.

    One whose completions have all been tried in the meantime is skipped with a warning.
    """
    history = session.history
    for index, given in enumerate(history.enqueued):
        if index in history.evaluated or index in session.skipped:
            continue
        params = _untried(session, given, index)
        if params is not None:
            return Enqueued(params, index)
        session.skipped.add(index)
        session.warn_once(f"skipped {index}", f"The configuration {given} is skipped: it has been tried.")
    return None


def enqueue(session: StudySession, given: Mapping[str, Any]) -> None:
    """Enqueue a configuration; see ``Tuner.enqueue``."""
    with session.lock:
        history = session.refresh()
        params = checked_configuration(session.config.space, given, "params")
        given_before = [Space.key(other) for other in history.enqueued]
        if Space.key(params) in given_before:
            raise InvalidArgument(f"params must be new, but {params} is enqueued already.")
        if history.space.is_complete(params) and history.has_configuration(params | history.space.fixed):
            raise InvalidArgument(f"params must be new, but a trial has tried {params}.")
        session.store.enqueue(params)
        session.refresh()
        if (reason := session.completion_reason()) is not None:
            session.warn_once(
                "enqueue", f"What was enqueued will not be tried: {reason}. Start the search with a higher limit."
            )


def _untried(session: StudySession, given: Params, index: int) -> Params | None:
    """Return the given configuration completed by the strategy, or at random if a trial already has the result."""
    history, config = session.history, session.config
    space = config.space
    if space.is_complete(given):
        return None if history.has_configuration(given | space.fixed) else given | space.fixed
    suggestion = config.strategy.suggest(seen_by(history.up_to_fold(0), config.seed, len(history)), config.seed)
    others = {Space.key(other | space.fixed) for other in history.enqueued if space.is_complete(other)}
    for params in _completions(space, given, suggestion, [config.seed, index]):
        if Space.key(params) not in others and not history.has_configuration(params) and space.accepts(params):
            return params
    return None


def _completions(space: Space, given: Params, suggestion: Params, seed: list[int]) -> Iterator[Params]:
    rng = np.random.default_rng(seed)
    draws = (draw(space, seed[0], number) for number in range(min(space.size or _MAX_DRAWS, _MAX_DRAWS)))
    for suggested in chain([suggestion], draws):
        absent = [name not in suggested for name in space]  # inactive in the suggestion, but perhaps active here
        yield space.complete(given, np.where(absent, rng.random(len(space)), space.encode(suggested)))
    if space.valid is not None:  # valid draws may seldom be valid together with the given values
        for point in rng.random((N_DRAWS, len(space))):
            yield space.complete(given, point)
