"""The server process: one for a storage, on one address, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa
import uvicorn
from filelock import FileLock, Timeout
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpo_plugins._validation import whole_number
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.storage.sql import SqlStorage

logger = logging.getLogger("hpo_plugins")

HEAD_SECONDS = 10.0
"""Seconds within which the head of a request must have arrived."""
MAX_HEAD = 16 << 10
"""Maximum bytes of a request's head."""
MAX_CONNECTIONS = 1_000
"""Maximum number of connections; further ones are asked to come again."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_IDLE_SECONDS = 75
"""Seconds for which an idle connection stays open, longer than our clients keep theirs."""
_DATABASE_LOCK = 0x68706F5E
"""The number of the advisory lock that a server of a PostgreSQL database holds."""


class _Corked:
    """A transport that sends together what is written in one step of the event loop: an answer's head and its body."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(H11Protocol):
    """uvicorn's protocol with fewer system calls, a limit of connections, and a time for each head to arrive.

    uvicorn itself waits without an end for the rest of a request's head (slowloris). The guard limits the rest.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for the first request, unless there are too many connections."""
        super().connection_made(_Corked(transport, self.loop))  # type: ignore[arg-type]  # it has what uvicorn uses
        if len(self.connections) > MAX_CONNECTIONS:
            self.transport.write(_BUSY)
            self.transport.close()
        else:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read requests; the head of the next one has its own time."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None and not self.transport.is_closing():
            self._start()

    def _start(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._end)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        has_begun = self.timeout_keep_alive_task is None or bool(self.conn.trailing_data[0])
        if has_begun:  # otherwise the connection is idle, and uvicorn's own timer runs
            self.transport.close()


class _Server(uvicorn.Server):
    """Says when it listens, and when it is told to end."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], object], ending: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        self._ending.set()
        super().handle_exit(sig, frame)


def bound(host: str, port: int, *, backlog: int | None = None) -> socket.socket:
    """Return a socket at an address.

    Args:
        host: The address.
        port: The port, 0 for any free one.
        backlog: Clients that may wait until they are answered; None to listen later.

    Raises:
        InvalidArgument: The address is not one of this machine, or is in use.
    """
    whole_number("port", port, at_least=0, at_most=65535)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _bound(family, address, backlog)
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError: a name that is too long for the DNS
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(
            f"host and port must be an address of this machine that is free, but got host={host!r}, port={port}: "
            f"{reason}. Use port 0 for any free port; ports below 1024 may need rights."
        ) from error


def _bound(family: int, address: Any, backlog: int | None) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if backlog is not None:
            made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def run(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    listening: Callable[[], object] = lambda: None,
    ending: threading.Event | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: The application.
        sockets: Where to listen.
        certfile: The certificate, for https.
        keyfile: Its key.
        listening: Called when clients can connect.
        ending: Set when the server is told to end: answers without an end must end then.

    Raises:
        InvalidArgument: The certificate or the key cannot be used.
    """
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended as told
        server = new_server(app, certfile=certfile, keyfile=keyfile, listening=listening, ending=ending)
        server.run(list(sockets))


def new_server(
    app: ASGIApp,
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    listening: Callable[[], object] = lambda: None,
    ending: threading.Event | None = None,
    idle_seconds: int = _IDLE_SECONDS,
) -> uvicorn.Server:
    """Return a server; see ``run``. An idle connection stays open for ``idle_seconds``."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # addresses contain the token
        access_log=False,
        server_header=False,
        timeout_keep_alive=idle_seconds,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=MAX_HEAD,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    try:
        config.load()
    except OSError as error:  # SSLError is one
        raise InvalidArgument(
            f"certfile and keyfile must be a certificate and its key in PEM form, but got certfile={str(certfile)!r}, "
            f"keyfile={str(keyfile)!r}: {error}."
        ) from error
    return _Server(config, listening, threading.Event() if ending is None else ending)


@contextlib.contextmanager
def only_server(storage: SqlStorage) -> Iterator[None]:
    """Hold the right to serve a storage.

    Raises:
        StorageError: Another process serves it.
    """
    database = storage.database
    refusal = StorageError(
        f"{database} is served by another process already. Connect to that server, or stop it first."
    )
    if database.path is not None:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(FileLock(f"{database.path}.served", timeout=0))
            except Timeout as error:
                raise refusal from error
            yield
    elif database.engine.dialect.name == "postgresql":
        with database.engine.connect() as connection:
            if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_DATABASE_LOCK))).scalar_one():
                raise refusal
            connection.commit()
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_DATABASE_LOCK)))
    else:
        yield


def address_of(listener: socket.socket, *, is_secure: bool = False, root_path: str = "") -> str:
    """Return the URL at which clients reach a socket; this machine's name if it listens on every address."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    root = "/" + root_path.strip("/") if root_path.strip("/") else ""
    return f"{'https' if is_secure else 'http'}://{shown}:{port}{root}"
