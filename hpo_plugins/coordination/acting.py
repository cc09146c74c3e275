"""Actions of people on a study, each of which is logged with its time.

A person stops a trial by writing the decision on it, which its worker reads at its next report: in this process, in
another one or on another machine. Checkpoint files are left to the workers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hpo_plugins._validation import is_text, refusal, whole_number
from hpo_plugins.coordination import enqueued
from hpo_plugins.coordination.completion import fields_of_end
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.records import ActionRow, Annotation, Assignment, Progress, TrialRow, TrialState, Written
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")

STOPPED = "stopped by a person"
"""The rule of a trial that a person has stopped."""
FAILED = "failed by a person"
"""The rule of a trial that a person has declared failed."""
MAX_NOTE = 10_000
"""Characters of a note."""
MAX_TAGS, MAX_TAG = 20, 60
"""Tags of a trial or a study, and characters of a tag."""


def stop_trial(session: StudySession, number: int, note: str = "") -> None:
    """Stop a trial; see ``Tuner.stop_trial``."""
    decision = Decision(TrialState.STOPPED, STOPPED, _checked_note(note))

    def stop(row: TrialRow) -> Written | None:
        if row.state is TrialState.PAUSED or session.is_abandoned(row):
            return session.store.update(row.number, row.attempts, **fields_of_end(decision))
        session.is_shared = True  # a training run of this process reads the decision, too
        return session.store.update(
            row.number, row.attempts, decision=decision.state, rule=decision.rule, detail=decision.detail
        )

    _act(session, number, "stop", {"note": note}, stop)


def fail_trial(session: StudySession, number: int, reason: str = "") -> None:
    """End a trial as failed; see ``Tuner.fail_trial``."""
    decision = Decision(TrialState.FAILED, FAILED, _checked_note(reason))
    fields = fields_of_end(decision)
    _act(
        session, number, "fail", {"note": reason}, lambda row: session.store.update(row.number, row.attempts, **fields)
    )


def restart_trial(session: StudySession, number: int) -> None:
    """Let a trial be trained from its first epoch; see ``Tuner.restart``.

    It counts as another attempt, so that a worker that still trains the trial loses its lease.
    """

    def restart(row: TrialRow) -> Written | None:
        attempt = row.attempts
        if row.state is TrialState.FAILED:  # as for any trial, an acquisition opens its next attempt
            again = Assignment(number, row.params, attempt + 1, 0, session.worker, 0.0, row.point)
            opened = session.store.acquire(again, session.history.acquisitions)
            if not session.apply(opened, is_acquisition=True):
                return None
        fresh: dict[str, Any] = {"decision": None, "rule": None, "detail": None, "error": None, "ended_at": None}
        fresh |= {"state": TrialState.RUNNING, "progress": Progress(), "phase": 0, "lease_until": None}
        return session.store.update(number, session.history[number].row.attempts, attempts=attempt + 1, **fresh)

    _act(session, number, "restart", {}, restart)
    session.checkpoints.clear(number)


def enqueue(session: StudySession, params: Mapping[str, Any]) -> None:
    """Enqueue a configuration as ``Tuner.enqueue`` does, and log it."""
    enqueued.enqueue(session, params)
    session.store.log("enqueue", None, {"params": dict(params)})


def annotate(
    session: StudySession, trial: int | None = None, *, note: str | None = None, tags: Iterable[str] | None = None
) -> None:
    """Replace the note or the tags of a trial or the study; see ``Tuner.annotate``."""
    if trial is not None:
        _row(session, trial)
    checked = None if note is None else _checked_note(note), None if tags is None else _checked_tags(tags)
    if checked == (None, None):
        raise InvalidArgument("annotate() needs note= or tags=, but got neither.")

    def write() -> None:
        for action, value in zip(("note", "tags"), checked, strict=True):
            if value is not None:
                session.store.log(action, trial, {action: value})

    session.exclusively(write)


def annotations_of(actions: Iterable[ActionRow]) -> dict[int | None, Annotation]:
    """Return the notes and tags by trial, those of the study under None: for each, what was logged last."""
    found: dict[int | None, Annotation] = {}
    for row in actions:
        if row.action in ("note", "tags"):
            before = found.get(row.trial, Annotation())
            note, tags = row.details.get("note", before.note), row.details.get("tags", before.tags)
            tags = tuple(map(str, tags)) if isinstance(tags, list | tuple) else ()  # a file may come from a stranger
            found[row.trial] = Annotation(str(note), tags)
    return {trial: annotation for trial, annotation in found.items() if annotation != Annotation()}


def _act(
    session: StudySession,
    number: int,
    action: str,
    details: dict[str, Any],
    write: Callable[[TrialRow], Written | None],
) -> None:
    """Write to a trial's row and to the log, both or neither.

    Args:
        session: The study.
        number: The trial.
        action: The action.
        details: What to log of it.
        write: Writes to the row; it returns None if the row has changed since it was read.

    Raises:
        InvalidArgument: There is no such trial, or it has ended.
    """

    def once() -> bool:
        row = _row(session, number)
        _refuse_ended(row, action)
        if is_written := session.apply(write(row)):
            session.store.log(action, number, details)
        return is_written

    with session.lock:
        while not session.exclusively(once):
            pass  # a worker has acquired or ended the trial meanwhile
    logger.info("trial %d: %s by a person", number, action)


def _row(session: StudySession, number: int) -> TrialRow:
    """Return a trial's row, up to date."""
    number = whole_number("number", number, at_least=0)
    history = session.refresh()
    if number >= len(history):
        raise InvalidArgument(
            f"number must be a trial of the study, but got number={number}. It has {len(history)} trials, from 0 on."
        )
    return history[number].row


def _refuse_ended(row: TrialRow, action: str) -> None:
    """Raise InvalidArgument if a trial has ended, except that failed ones may be restarted."""
    may_have_failed = action == "restart"
    if not row.state.is_final or (may_have_failed and row.state is TrialState.FAILED):
        return
    allowed = "paused, running or failed" if may_have_failed else "paused or running"
    cure = " To train its configuration again with other seeds, use Tuner.confirm." if may_have_failed else ""
    raise InvalidArgument(
        f"number must be a trial that is {allowed}, but trial {row.number} is {row.state.value}. Its result is kept."
        f"{cure}"
    )


def _checked_note(note: object) -> str:
    if not isinstance(note, str) or not is_text(note) or "\0" in note or len(note) > MAX_NOTE:
        raise refusal("note", note, f"text of at most {MAX_NOTE} characters without NUL")
    return note


def _checked_tags(tags: object) -> list[str]:
    is_scalar = getattr(tags, "ndim", 1) == 0  # an array that cannot be iterated over
    if isinstance(tags, str | bytes) or is_scalar or not isinstance(tags, Iterable):
        raise refusal("tags", tags, "a list of strings")
    found: list[str] = []
    for tag in tags:
        if (
            not isinstance(tag, str)
            or not is_text(tag)
            or not tag.strip()
            or not tag.isprintable()
            or len(tag) > MAX_TAG
        ):
            raise refusal("tags", tags, f"a list of strings of 1 to {MAX_TAG} printable characters")
        found.append(tag.strip())
    found = list(dict.fromkeys(found))
    if len(found) > MAX_TAGS:
        raise refusal("tags", tags, f"a list of at most {MAX_TAGS} strings")
    return found
