"""The server's application: the storage protocol over HTTP, behind the guard.

Every route below ``/api/`` takes and returns msgpack (``wire``). An error of the storage is an answer with its class
and its message; nothing of a defect leaves the server but a sentence.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from hpo_plugins import __version__
from hpo_plugins.errors import HpoError, InvalidArgument, StorageError, StudyNotFound
from hpo_plugins.serve import uploads, wire
from hpo_plugins.serve.entry import Prefixed
from hpo_plugins.serve.guard import Guard
from hpo_plugins.serve.registry import Registry, Served
from hpo_plugins.serve.writer import checked, revision_of
from hpo_plugins.storage import ManagedStorage, Storage
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.storage.protocol import Definition, StudyStore
from hpo_plugins.storage.retry import Unreachable

logger = logging.getLogger("hpo_plugins")

MAX_BODY = 64 << 20
"""Maximum bytes of a message: the definition of a study contains the trials of its parents (``warm_start``)."""
MAX_WAIT = 20.0
"""Maximum seconds for which a request waits for changes."""

_OF_FILES = {"list": "names", "remove": "remove", "keep": "keep"}
"""Routes of checkpoints, and the methods that they call."""

Handler = Callable[[Any], Awaitable[bytes]]
Acted = Callable[[], Awaitable[None]]
"""Called after studies were changed by other ways than a client's write."""


def create_app(
    storage: Storage,
    token: str,
    *,
    reader: Storage | None = None,
    routes: Callable[[Acted], Sequence[BaseRoute]] = lambda _: (),
    hosts: Iterable[str] = (),
    root_path: str = "",
    max_rate: float = wire.MAX_RATE,
) -> ASGIApp:
    """Return the application that serves a storage.

    Args:
        storage: The storage.
        token: What every request must carry.
        reader: The same storage by connections of its own, so that a long read delays no write.
        routes: Called with what wakes the clients that wait after it has changed studies; returns further routes, such
            as those of a page.
        hosts: Further names of this server.
        root_path: The path under which a proxy shows the server, such as /tuning.
        max_rate: Requests a second that an address may send.
    """
    api = _Api(storage, storage if reader is None else reader)
    whole = Starlette(routes=[*api.routes(), *routes(api.acted)])
    return Prefixed(Guard(whole, token, hosts=hosts, max_body=MAX_BODY, max_rate=max_rate), root_path)


class _Api:
    """The routes of a storage."""

    def __init__(self, storage: Storage, reader: Storage) -> None:
        self._storage = storage
        self._registry = Registry(storage, reader)
        self._started = time.monotonic()

    def routes(self) -> list[Route]:
        """Return the routes."""
        handlers: dict[str, Handler] = {
            "write": self._write,
            "changes": self._changes,
            "wait": self._wait,
            "actions": self._actions,
            "storage/open": self._in_thread("open", self._open),
            "storage/copy": self._in_thread("copy", self._copy),
            "storage/delete": self._in_thread("delete", self._delete),
            "storage/names": self._in_thread("names", self._storage.names),
            "storage/counts": self._in_thread("counts", self._managed("counts")),
            "storage/identify": self._in_thread("identify", lambda name: self._registry.open(name, None)[0]),
            "storage/rename": self._in_thread("rename", self._rename),
            "checkpoints/upload": self._in_thread("upload", self._upload),
            "checkpoints/download": self._in_thread("download", self._download),
            **{f"checkpoints/{method}": self._in_thread(method, self._of_files(method)) for method in _OF_FILES},
        }
        return [Route(f"/api/{path}", self._endpoint(handler), methods=["POST"]) for path, handler in handlers.items()]

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                _check_version(request)
                status, content = 200, await handler(await request.body())
            except HTTPException:  # the guard's
                raise
            except Exception as error:  # noqa: BLE001 - each is an answer
                status, failure = _failure(error)
                content = wire.encode(failure)
            return Response(content, status, self._headers(), "application/msgpack")

        return endpoint

    def _headers(self) -> dict[str, str]:
        return {
            wire.PROTOCOL_HEADER: str(wire.PROTOCOL),
            wire.VERSION_HEADER: __version__,
            wire.UPTIME_HEADER: str(int(time.monotonic() - self._started)),
        }

    async def acted(self) -> None:
        """Wake clients that wait for changes of a study, since a person has changed one on the page."""
        for served in self._registry.every():
            if served.writer.is_awaited:
                served.writer.wake(await to_thread.run_sync(revision_of, served.reader))

    # The routes.

    async def _write(self, body: bytes) -> bytes:
        message: wire.WriteRequest = wire.arguments_of("write", body)
        request = checked(message)
        served = await self._find(message.study, message.name)
        return await served.writer.write(request)

    async def _changes(self, body: bytes) -> bytes:
        request: wire.ChangesRequest = wire.arguments_of("changes", body)
        served = await self._find(request.study, request.name)
        return await to_thread.run_sync(_read, served.reader, request.since)

    async def _wait(self, body: bytes) -> bytes:
        request: wire.ChangesRequest = wire.arguments_of("wait", body)
        served = await self._find(request.study, request.name)
        await served.writer.wait(request.since, min(request.seconds, MAX_WAIT))
        return wire.encode(None)

    async def _actions(self, body: bytes) -> bytes:
        request: wire.ChangesRequest = wire.arguments_of("actions", body)
        served = await self._find(request.study, request.name)
        return wire.encode(await to_thread.run_sync(served.reader.actions, request.since))

    async def _find(self, study: str, name: str) -> Served:
        known = self._registry.known(study)
        return known if known is not None else await to_thread.run_sync(self._registry.find, study, name)

    def _in_thread(self, method: str, work: Callable[..., Any]) -> Handler:
        async def handler(body: bytes) -> bytes:
            arguments: tuple[Any, ...] = wire.arguments_of(method, body)
            return wire.encode(await to_thread.run_sync(work, *arguments))

        return handler

    def _open(self, name: str, definition: Definition | None) -> wire.Opened:
        if definition is not None and name not in self._storage.names():
            Checkpoints(self._storage.checkpoint_root(name)).clear_all()
        identity, served = self._registry.open(name, definition)
        return wire.Opened(identity, served.store.definition)

    def _managed(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if not isinstance(self._storage, ManagedStorage):
                raise StorageError(f"The studies of {self._storage} cannot be managed.")
            return getattr(self._storage, method)(*arguments)

        return call

    # Checkpoint files go with their study.

    def _root(self, name: str) -> Path:
        return Path(self._storage.checkpoint_root(name))

    # A repeated request, whose first answer was lost, finds that it was done, also after a restart of the server.

    def _rename(self, identity: str, name: str, new_name: str) -> None:
        now = self._registry.name_of(identity, name)
        if now not in (name, new_name):
            raise StudyNotFound(f"Study {name!r} was deleted or renamed meanwhile.")
        if now != new_name:
            self._managed("rename")(name, new_name)
        uploads.move(self._root(name), self._root(new_name))
        self._registry.open(new_name, None)

    def _copy(self, request: str, name: str, new_name: str) -> None:
        key = f"http copy {request}"  # a copy has the claims of its study, and with them this one
        names = self._storage.names()
        is_done = new_name in names and self._storage.open(new_name, None).claim(key, "", "") == new_name
        if not is_done:
            source = self._storage.open(name, None)
            source.claim(key, new_name, "")
            try:
                self._managed("copy")(name, self._storage, new_name)
            finally:
                source.claim(key, "", new_name)
        if not (is_done and self._root(new_name).exists()):
            uploads.copy(self._root(name), self._root(new_name))

    def _delete(self, identity: str, name: str) -> None:
        now = self._registry.name_of(identity, name)
        if now not in (name, None):
            raise StudyNotFound(f"Study {name!r} was renamed to {now!r} meanwhile.")
        if now is not None:
            self._registry.forget(identity)
            self._managed("delete")(name)
            shutil.rmtree(self._root(name), ignore_errors=True)

    def _files(self, study: str, name: str) -> uploads.Uploads:
        served = self._registry.known(study) or self._registry.find(study, name)
        return uploads.Uploads(self._root(served.name))

    def _of_files(self, method: str) -> Callable[..., Any]:
        return lambda study, name, *arguments: getattr(self._files(study, name), _OF_FILES[method])(*arguments)

    def _upload(self, upload: wire.Upload, content: bytes) -> int:
        return self._files(upload.study, upload.study_name).add(upload, content)

    def _download(self, wanted: wire.Range) -> tuple[int, bytes]:
        return self._files(wanted.study, wanted.study_name).read(wanted)


def _read(store: StudyStore, since: int) -> bytes:
    changes = store.changes(since)
    return wire.encode(changes._replace(reports=list(changes.reports)))


def _check_version(request: Request) -> None:
    given = request.headers.get(wire.PROTOCOL_HEADER)
    if given != str(wire.PROTOCOL):
        version = request.headers.get(wire.VERSION_HEADER, "another program")
        raise StorageError(
            f"The client is hpo-plugins {version[:40]} (protocol {str(given)[:8]}), and the server {__version__} "
            f"(protocol {wire.PROTOCOL}). Upgrade the older one: pip install -U hpo-plugins"
        )


def _failure(error: Exception) -> tuple[int, wire.Failure]:
    """Return the status and the answer for an error."""
    if isinstance(error, Unreachable):  # the database behind this server
        return 503, wire.Failure("StorageError", str(error))
    if isinstance(error, StudyNotFound):
        return 404, wire.Failure("StudyNotFound", str(error))
    if isinstance(error, InvalidArgument):
        return 400, wire.Failure("InvalidArgument", str(error))
    if isinstance(error, HpoError):
        return 409, wire.Failure(type(error).__name__, str(error))
    if isinstance(error, msgspec.MsgspecError | RecursionError | UnicodeError):
        return 400, wire.Failure("InvalidArgument", f"The message has another form: {str(error)[:200]}")
    if isinstance(error, OSError):  # such as a full disk
        return 409, wire.Failure("StorageError", f"The server could not read or write a file: {error.strerror}.")
    logger.error("a request could not be answered: %s: %s", type(error).__name__, error)
    logger.debug("the request", exc_info=error)
    return 500, wire.Failure("StorageError", "The server could not answer; its log says why. Please report this.")
