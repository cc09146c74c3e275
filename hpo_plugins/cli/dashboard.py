"""The dashboard: serve the report, refreshed whenever the study changes, on an address of this machine.

Only the page itself is served, only to who knows the token in its URL, and nothing can be changed through it. A request
can be anything, and a client can stay silent: each gets an HTTP status within seconds, and none more than one thread.
"""

from __future__ import annotations

import contextlib
import hmac
import http.server
import logging
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

from hpo_plugins._text import printable
from hpo_plugins._validation import whole_number
from hpo_plugins.errors import HpoError, InvalidArgument
from hpo_plugins.view import StudyView
from hpo_plugins.view.report import report
from hpo_plugins.view.words import shortened

logger = logging.getLogger("hpo_plugins")

REFRESH_SECONDS = 15
SILENT_SECONDS = 10.0
"""Seconds that a client may send or take nothing."""
REQUEST_SECONDS = 20.0
"""Seconds that a client may take to send its whole request."""
MAX_CONNECTIONS = 32
"""Maximum number of simultaneous requests; further ones are asked to retry."""
CHUNK = 1 << 16
"""Bytes that a client must take within ``SILENT_SECONDS``."""


def serve(look: Callable[[], StudyView], host: str, port: int, say: Callable[[str], object], root: str = "") -> None:
    """Serve until Ctrl-C.

    Args:
        look: Returns the study as it is now.
        host: The address to listen on.
        port: The port, 0 for any free one.
        say: Called with the URL.
        root: The path under which a proxy shows the page.

    Raises:
        HpoError: The address cannot be listened on, or there can be no page now.
    """
    server = new_server(look, host, port, root)
    try:
        server.page()  # report errors of the page here rather than in a browser
        say(f"{url_of(server)}\nCtrl-C ends the dashboard.")
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A server of one page.

    Attributes:
        token: What the URL must contain.
        root: The path under which a proxy shows the page, empty or with a slash at its start only.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, family: int, address: tuple[Any, ...], look: Callable[[], StudyView], root: str) -> None:
        """Listen."""
        self.address_family = family
        self.token = secrets.token_urlsafe(16)
        self.root = root
        self._look = look
        self._making = threading.Lock()
        self._page: tuple[object, bytes] = (None, b"")
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._reading: dict[Any, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without a look into the DNS for the name of this machine, which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def page(self) -> bytes:
        """Return the page of the study as it is now; one that is asked for again is made once.

        Raises:
            HpoError: The study cannot be read, or a package is missing.
        """
        with self._making:
            view = self._look()
            clock = view.runtime // REFRESH_SECONDS  # running trials grow on the page without a new report
            state = (view.history.revision, view.running, view.completion_reason, clock)
            if self._page[0] != state:
                refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
                self._page = (state, report(view, head=refresh).encode())
            return self._page[1]

    # Connections.

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if one is free."""
        if not self._free.acquire(blocking=False):
            request.setblocking(False)  # this is the thread that accepts connections
            with contextlib.suppress(OSError):
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
                request.recv(CHUNK)  # what is unread when a socket is closed would take the answer with it
            self.shutdown_request(request)
            return
        self._reading[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started; after Ctrl-C, a thread that has started frees itself
            self._reading.pop(request, None)
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._reading.pop(request, None)
            self._free.release()

    def has_read(self, request: Any) -> None:
        """Record that a request was read as a whole; sending the answer may take longer."""
        self._reading.pop(request, None)

    def service_actions(self) -> None:
        """Read no more from clients that send their request too slowly."""
        for request, since in list(self._reading.items()):
            if time.monotonic() - since > REQUEST_SECONDS:
                self._reading.pop(request, None)
                with contextlib.suppress(OSError):  # it is closed already
                    request.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say nothing of a tab that was closed, and one sentence of anything else."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.warning("the dashboard could not answer a request: %s: %s", type(error).__name__, error)


def new_server(look: Callable[[], StudyView], host: str, port: int, root: str = "") -> Server:
    """Return a server that listens already; see ``serve``.

    Raises:
        InvalidArgument: The address cannot be listened on.
    """
    whole_number("port", port, at_least=0, at_most=65535)
    root = "/" + root.strip("/") if root.strip("/") else ""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Server(family, address, look, root)
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError: a name that is too long for the DNS
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(
            f"host and port must be an address of this machine that is free, but got host={host!r}, port={port}: "
            f"{reason}. Use port 0 for any free port; ports below 1024 may need rights."
        ) from error


def url_of(server: Server) -> str:
    """Return the URL of the page."""
    host, port = server.server_address[:2]
    shown = f"[{host!s}]" if ":" in str(host) else str(host)
    return f"http://{shown}:{port}{quote(server.root)}/?token={server.token}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version, timeout = "hpo-plugins", "", SILENT_SECONDS
    default_request_version = "HTTP/1.0"  # a request that cannot be read gets a status, too

    def do_GET(self) -> None:
        """Answer with the report."""
        self.server.has_read(self.request)
        path, _, query = self.path.partition("?")
        if not hmac.compare_digest(_token(query).encode(), self.server.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, "The address must contain the token that was printed.")
        elif not self._is_page(path):
            self._answer(HTTPStatus.NOT_FOUND, "There is one page only, at the address that was printed.")
        else:
            self._answer_page()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _is_page(self, path: str) -> bool:
        """Return whether a path is the page's, as it is here or as it is in front of a proxy."""
        roots = {"", self.server.root, "/" + self.headers.get("X-Forwarded-Prefix", "").strip("/")}
        return path.rstrip("/") in {quoted for root in roots for quoted in (root.rstrip("/"), quote(root).rstrip("/"))}

    def _answer_page(self) -> None:
        try:
            page = self.server.page()
        except HpoError as error:  # the study may be deleted, or its server be down, while it is watched
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"The study cannot be shown now: {error}")
        except Exception as error:
            logger.warning("the dashboard could not make its page: %s: %s", type(error).__name__, error)
            logger.debug("the page", exc_info=True)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "The page could not be made; please report this.")
        else:
            self._send(HTTPStatus.OK, "text/html", page)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer a request that cannot be read, in one sentence."""
        self.close_connection = True
        self._answer(code, shortened(printable(message or HTTPStatus(code).phrase), 200))

    def _answer(self, status: int, sentence: str) -> None:
        self._send(status, "text/plain", f"{sentence}\n".encode(errors="backslashreplace"))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            for place in range(0, len(body), CHUNK):  # the time limit is for each of them
                self.wfile.write(body[place : place + CHUNK])

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the URLs contain the token."""


def _token(query: str) -> str:
    try:
        return parse_qs(query, max_num_fields=16).get("token", [""])[0]
    except ValueError:  # too many fields
        return ""
