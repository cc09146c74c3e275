"""The server of the page: uvicorn, with a limit of connections and a time for each request to arrive.

A client can stay silent or send its request slowly. uvicorn waits for it as long as it lives; here, its connection is
closed. The guard limits what is sent (``serve/guard.py``).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpo_plugins.coordination.opening import Target
from hpo_plugins.page.answers import plotly_packed
from hpo_plugins.page.app import create_app
from hpo_plugins.serve.server import bound

REQUEST_SECONDS = 20.0
"""Seconds in which the head of a request must arrive, or a connection must begin one."""
MAX_CONNECTIONS = 64
"""Maximum number of connections at a time; further ones are asked to come again."""
START_SECONDS = 30.0
"""Seconds to wait for the thread of a server."""
BACKLOG = 128
"""Clients that may connect before the server runs."""
END_SECONDS = 2
"""Seconds that answers may take after Ctrl-C."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PageServer:
    """Serves the page of a storage.

    Args:
        storage: The storage.
        host: The address to listen on.
        port: The port, 0 for any free one.
        root: The path under which a proxy shows the page.
        allow_actions: Whether a person may change studies.
        study: The study that is shown first.
        hosts: Further names of this server.
        in_frame: Whether it is shown in frames.

    Attributes:
        token: What a client must know.
        address: The address and the port that it listens on.

    Raises:
        InvalidArgument: The address cannot be listened on.
        StudyNotFound: There is no such file.
        StorageError: The storage cannot be opened.
        MissingDependency: plotly is not installed.
    """

    def __init__(
        self,
        storage: Target,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        root: str = "",
        allow_actions: bool = False,
        study: str | None = None,
        hosts: Iterable[str] = (),
        in_frame: bool = False,
    ) -> None:
        """Listen; requests are answered once it runs."""
        self.token = secrets.token_urlsafe(16)
        self._root = "/" + root.strip("/") if root.strip("/") else ""
        plotly_packed()  # a package that is missing is an error here rather than in a browser
        app = create_app(
            storage,
            token=self.token,
            allow_actions=allow_actions,
            root_path=self._root,
            study=study,
            hosts=[host, *hosts],
            in_frame=in_frame,
            is_ending=lambda: self._server.should_exit,
        )
        app.state.page.warm()  # and a study that cannot be read
        self._socket = bound(host, port, backlog=BACKLOG)
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # addresses contain the token
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=END_SECONDS,
        )
        self._server = _Server(config)
        host_and_port = self._socket.getsockname()[:2]
        self.address = str(host_and_port[0]), int(host_and_port[1])
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The URL of the page, with the token."""
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}{quote(self._root)}/?token={self.token}"

    def run(self) -> None:
        """Serve until ``end`` or Ctrl-C."""
        try:
            self._server.run(sockets=[self._socket])
        except KeyboardInterrupt:  # which uvicorn raises again after it has ended
            pass
        finally:
            self._socket.close()

    def start(self) -> None:
        """Serve in a thread; return once it answers."""
        self._thread = threading.Thread(target=self.run, name="hpo-plugins-page", daemon=True)
        self._thread.start()
        self._server.is_up.wait(START_SECONDS)

    def end(self) -> None:
        """End the server and its thread."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        else:
            self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self.is_up.set()


class TimedProtocol(H11Protocol):
    """A connection that is closed if a request does not arrive in time, or if there are too many others."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Start no timer yet."""
        super().__init__(*arguments, **options)
        self._arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.write(_BUSY)
            transport.close()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read requests; the head of the next one has its own time."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._arrival is None and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._arrival = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
