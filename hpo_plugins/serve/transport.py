"""Requests over connections that stay open, for all threads of a process.

The standard library's client takes a third of the time of httpx's transport (docs/decisions/0038). It follows neither
redirects nor the environment's proxies, which would lead the token elsewhere.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

IDLE_SECONDS = 30.0
"""Seconds for which an idle connection is used again; servers and proxies close them later."""
MAX_IDLE = 8
"""Maximum number of idle connections that are kept."""


class Response(NamedTuple):
    """An answer: its status, its headers by lower-case name, and its body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """The connections to one server; a forked child opens its own.

    Args:
        host: Its name or address.
        port: Its port.
        is_secure: Whether to connect by TLS.
        connect_seconds: Seconds within which a connection must be there.
    """

    def __init__(self, host: str, port: int, *, is_secure: bool, connect_seconds: float) -> None:
        """Open no connection yet."""
        self._place, self._is_secure, self._connect_seconds = (host, port), is_secure, connect_seconds
        self._context: ssl.SSLContext | None = None
        self._forget()

    def _forget(self) -> None:
        """Have no connection, as at first and in a forked child: the parent goes on to use its own."""
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle)

    def request(self, verb: str, path: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Return the answer to a request.

        Args:
            verb: Its method.
            path: Its path.
            headers: Its headers, with ``host``.
            body: Its body.
            seconds: Seconds within which each part of the answer must arrive.

        Raises:
            OSError, http.client.HTTPException: There was none.
        """
        connection = self._take()
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(seconds)
            connection.putrequest(verb, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:  # an interrupt, too: the answer must not be taken for that of the next request
            connection.close()
            raise
        if not answer.will_close:
            self._idle.append((connection, time.monotonic()))
            if len(self._idle) > MAX_IDLE:
                self._close_oldest()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def _take(self) -> http.client.HTTPConnection:
        """Return an open connection that is idle, or a new one that connects when it is used."""
        if self._pid != os.getpid():
            self._forget()
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return self._new()
            if time.monotonic() - since < IDLE_SECONDS and not _is_readable(connection):
                return connection
            connection.close()

    def _new(self) -> http.client.HTTPConnection:
        if not self._is_secure:
            return http.client.HTTPConnection(*self._place, timeout=self._connect_seconds)
        if self._context is None:
            self._context = _context()
        return http.client.HTTPSConnection(*self._place, timeout=self._connect_seconds, context=self._context)

    def _close_oldest(self) -> None:
        with contextlib.suppress(IndexError):  # another thread was faster
            self._idle.popleft()[0].close()


def _close_all(connections: deque[tuple[http.client.HTTPConnection, float]]) -> None:
    """Close this process's ends; those of a parent stay open."""
    while connections:
        connections.pop()[0].close()


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    """Return whether an idle connection has something to read: its end."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([connection.sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _context() -> ssl.SSLContext:
    """Return what checks certificates: by the authorities of the system or of certifi, or those in SSL_CERT_FILE."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        with contextlib.suppress(ImportError):  # Pythons of python.org know no authorities on some systems
            import certifi

            context.load_verify_locations(certifi.where())
    return context
