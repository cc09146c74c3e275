"""The writes to one study: those of many clients in one transaction, and each request once.

While a transaction is under way, requests wait; then all of them go into the next one (group commit). What a request
has written is recorded with it, in the same transaction, as a claim in the client's name. A client repeats a request
whose answer it did not receive, and finds that record, also after the server was killed.

The record is a line of at most 512 characters: the request's number and, for each call, the revision that it took.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from anyio import to_thread

from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.records import Changes, Written
from hpo_plugins.serve.wire import MAX_CALLS, NOTABLE, WRITES, WriteRequest, arguments_of, encode, fields_of
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.rows import reports_of

MAX_GROUP = 64
"""Maximum number of requests in a transaction."""
_LATEST = 2**62
"""A revision after which there is nothing: what is read then is the study's own row."""
_MAX_REMEMBERED = 4_096
"""Clients whose last answer is kept in memory; that of others is rebuilt from the record."""


class Request(NamedTuple):
    """A request whose calls were decoded."""

    client: str
    number: int
    calls: list[tuple[str, Any]]
    since: int


class _Done(NamedTuple):
    """A request that was done: its number, its record, its answer, and the revision if others may wait for it."""

    number: int
    record: str
    answer: bytes
    notable: int = 0


def checked(request: WriteRequest) -> Request:
    """Return a request with its calls decoded, before anything is written.

    Raises:
        InvalidArgument: A call is not one of a study's writes, or a value cannot be stored.
        msgspec.ValidationError, msgspec.DecodeError: Arguments are of other types.
    """
    if not (1 <= len(request.calls) <= MAX_CALLS and 1 <= request.number < 2**62 and 1 <= len(request.client) <= 64):
        raise InvalidArgument(f"A request must be numbered and have 1 to {MAX_CALLS} calls.")
    if unknown := next((method for method, _ in request.calls if method not in WRITES), None):
        raise InvalidArgument(f"A study has no method {unknown[:40]!r} that writes. It has: {', '.join(WRITES)}.")
    calls = [(method, arguments_of(method, arguments)) for method, arguments in request.calls]
    reports = [(*arguments[0], 0) for method, arguments in calls if method == "report"]
    try:
        reports_of(reports, "The request")
    except StorageError as error:
        raise InvalidArgument(str(error)) from error
    return Request(request.client, request.number, calls, request.since)


class Writer:
    """Writes to one study.

    Args:
        store: The study.
    """

    def __init__(self, store: StudyStore) -> None:
        """Write nothing yet."""
        self._store = store
        self._waiting: list[tuple[Request, asyncio.Future[bytes]]] = []
        self._running: asyncio.Task[None] | None = None
        self._done: OrderedDict[str, _Done] = OrderedDict()
        self._notable, self._written, self._n_waiting = 0, asyncio.Event(), 0

    async def write(self, request: Request) -> bytes:
        """Return the encoded results of a request, once it is committed.

        Raises:
            HpoError: The storage raised an error; nothing of the request was written.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def wait(self, since: int, seconds: float) -> None:
        """Return as soon as a notable write has a revision after ``since``, or after some seconds."""
        self._n_waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self._notable <= since:
                        await self._written.wait()
        finally:
            self._n_waiting -= 1

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return self._n_waiting > 0

    def wake(self, revision: int) -> None:
        """Wake who waits for a revision up to this one."""
        if revision > self._notable:
            self._notable = revision
            self._written.set()
            self._written = asyncio.Event()

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                outcomes = await to_thread.run_sync(self._write_group, [request for request, _ in group])
                for (request, future), outcome in zip(group, outcomes, strict=True):
                    self._answer(request, future, outcome)
                self.wake(max((done.notable for done in outcomes if isinstance(done, _Done)), default=0))
        finally:
            self._running = None

    def _answer(self, request: Request, future: asyncio.Future[bytes], outcome: _Done | Exception) -> None:
        if isinstance(outcome, _Done):
            self._done[request.client] = outcome
            self._done.move_to_end(request.client)
            if len(self._done) > _MAX_REMEMBERED:
                self._done.popitem(last=False)
        if future.done():  # the client has gone
            return
        if isinstance(outcome, _Done):
            future.set_result(outcome.answer)
        else:
            future.set_exception(outcome)

    # In a thread.

    def _write_group(self, group: Sequence[Request]) -> list[_Done | Exception]:
        """Do requests in one transaction; if it fails, each in one of its own."""
        try:
            return self._store.exclusively(lambda: [self._once(request) for request in group])
        except Exception as error:  # noqa: BLE001 - each is an answer
            if len(group) == 1:
                return [error]
            return [self._write_group([request])[0] for request in group]

    def _once(self, request: Request) -> _Done:
        """Do a request, unless it was done before."""
        known = self._done.get(request.client)
        record = "" if known is None else known.record
        if known is None or known.number >= request.number:
            record = self._store.claim(_key(request), "", "")
        number, _, entries = record.partition(":")
        if record and int(number) >= request.number:
            return self._again(request, int(number), record, entries.split(","))
        results = [self._call(method, arguments) for method, arguments in request.calls]
        new = f"{request.number}:{','.join(map(_entry, results))}"
        if self._store.claim(_key(request), new, record) != new:
            raise StorageError("Two programs write under one client's name. Start the client again.")
        is_notable = any(method in NOTABLE for method, _ in request.calls)
        notable = revision_of(self._store) if is_notable else 0
        return _Done(request.number, new, encode((results, self._news(request, results))), notable)

    def _news(self, request: Request, results: Sequence[Any]) -> Changes | None:
        """Return what is new to the client, None if that is only what it has just written."""
        revisions = [getattr(result, "revision", result) for result in results]
        own = [revision for revision in revisions if isinstance(revision, int)]
        if request.since < 0 or not own or own == list(range(request.since + 1, request.since + 1 + len(own))):
            return None
        changes = self._store.changes(request.since)
        return changes._replace(reports=list(changes.reports))

    def _call(self, method: str, arguments: Any) -> Any:
        if method != "update":
            return getattr(self._store, method)(*arguments)
        number, attempt, fields = arguments
        return self._store.update(number, attempt, **fields_of(fields))

    def _again(self, request: Request, number: int, record: str, entries: Sequence[str]) -> _Done:
        """Return the answer to a request that was done before.

        Raises:
            InvalidArgument: It was not this client's last one, so nobody waits for its answer.
        """
        if number != request.number or len(entries) != len(request.calls):
            raise InvalidArgument(f"Request {request.number} was answered before; the client's last one is {number}.")
        known = self._done.get(request.client)
        if known is not None and known.number == number:
            return known
        results = [self._rebuilt(*call, entry) for call, entry in zip(request.calls, entries, strict=True)]
        return _Done(number, record, encode((results, None)))

    def _rebuilt(self, method: str, arguments: Any, entry: str) -> Any:
        """Return a call's result from its record: a row may be newer than the revision says."""
        if method == "claim":
            return self._store.claim(*arguments)  # another one finds what the first has done
        if not entry:
            return None
        if method == "report":
            return int(entry)
        number = arguments[0].number if method == "acquire" else arguments[0]
        rows = [row for row in self._store.changes(0).trials if row.number == number]
        return Written(int(entry), rows[0])


def revision_of(store: StudyStore) -> int:
    """Return a study's current revision."""
    return store.changes(_LATEST).revision


def _key(request: Request) -> str:
    return f"http {request.client}"


def _entry(result: Any) -> str:
    """Return what the record keeps of a call's result: its revision, if it has one."""
    if isinstance(result, Written):
        return str(result.revision)
    return str(result) if isinstance(result, int) else ""
