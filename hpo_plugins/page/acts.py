"""The actions that the page sends, checked and carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from hpo_plugins._text import printable
from hpo_plugins.coordination import acting
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.page.form import params_of
from hpo_plugins.page.library import Library, OpenStudy


class Act(msgspec.Struct, forbid_unknown_fields=True):
    """An action as the page sends it.

    Attributes:
        action: What to do.
        trial: The trial; None for the study.
        note: A note, or why.
        tags: Tags.
        params: By parameter a number or the position in its list; None leaves it to the strategy.
        name: The new name.
    """

    action: Literal["stop", "fail", "restart", "enqueue", "annotate", "rename"]
    trial: int | None = None
    note: str | None = None
    tags: list[str] | None = None
    params: dict[str, int | float | None] = {}
    name: str = ""


def act(library: Library, name: str, body: bytes) -> str:
    """Carry out an action, and return what was done in one sentence.

    Args:
        library: The studies.
        name: The study.
        body: The action as JSON.

    Raises:
        InvalidArgument: It is no action, or one that is not possible.
        StorageError: The storage cannot be reached.
    """
    try:
        given = msgspec.json.decode(body, type=Act)
    except (ValueError, RecursionError) as error:  # msgspec's errors and those of UTF-8 are ValueErrors
        raise InvalidArgument(f"an action must be JSON as the page sends it, but {printable(error)}.") from None
    return _ACTS[given.action](library, library.study(name), given)


def _stop(library: Library, study: OpenStudy, given: Act) -> str:  # noqa: ARG001 - one signature for all
    number, session = _trial(given), study.session
    acting.stop_trial(session, number, given.note or "")
    is_over = session.refresh()[number].row.state.is_final
    return f"Trial {number} is stopped." if is_over else f"Trial {number} stops at its next report."


def _fail(library: Library, study: OpenStudy, given: Act) -> str:  # noqa: ARG001
    acting.fail_trial(study.session, _trial(given), given.note or "")
    return f"Trial {given.trial} is failed. If a worker trains it, it stops at its next report."


def _restart(library: Library, study: OpenStudy, given: Act) -> str:  # noqa: ARG001
    acting.restart_trial(study.session, _trial(given))
    return f"Trial {given.trial} is trained from its first epoch by the next free worker."


def _enqueue(library: Library, study: OpenStudy, given: Act) -> str:  # noqa: ARG001
    session = study.session
    acting.enqueue(session, params_of(session.config.space, given.params))
    reason = session.completion_reason()
    if reason is None:
        return "The configuration is enqueued: the next free worker tries it."
    return (
        f"The configuration is enqueued, but no trial will be started: {reason}. Start the search with a higher limit."
    )


def _annotate(library: Library, study: OpenStudy, given: Act) -> str:  # noqa: ARG001
    acting.annotate(study.session, given.trial, note=given.note, tags=given.tags)
    return "Saved."


def _rename(library: Library, study: OpenStudy, given: Act) -> str:
    library.rename(study.name, given.name)
    return f"The study is now {given.name!r}."


def _trial(given: Act) -> int:
    if given.trial is None:
        raise InvalidArgument(f"{given.action} needs trial, the number of a trial.")
    return given.trial


_ACTS: dict[str, Callable[[Library, OpenStudy, Act], str]] = {
    "stop": _stop,
    "fail": _fail,
    "restart": _restart,
    "enqueue": _enqueue,
    "annotate": _annotate,
    "rename": _rename,
}
