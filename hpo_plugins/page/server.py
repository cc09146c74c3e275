"""The server of the page, in this thread or in one of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from urllib.parse import quote

from hpo_plugins.coordination.opening import Target
from hpo_plugins.page.answers import plotly_packed
from hpo_plugins.page.app import create_app
from hpo_plugins.serve.server import bound, new_server

IDLE_SECONDS = 5
"""Seconds for which a browser's idle connection stays open."""
START_SECONDS = 30.0
"""Seconds to wait for the thread of a server."""
BACKLOG = 128
"""Clients that may connect before the server runs."""


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
        self._is_up = threading.Event()
        self._server = new_server(app, listening=self._is_up.set, idle_seconds=IDLE_SECONDS)
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
        self._is_up.wait(START_SECONDS)

    def end(self) -> None:
        """End the server and its thread."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        else:
            self._socket.close()
