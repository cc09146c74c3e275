"""The dashboard: the report, made anew whenever the page is loaded, on an address of this machine.

Only the page itself is served, only to who knows the token in its URL, and nothing can be changed through it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from hpo_plugins.errors import StorageError
from hpo_plugins.view import StudyView
from hpo_plugins.view.report import report

REFRESH_SECONDS = 15


def serve(look: Callable[[], StudyView], host: str, port: int, say: Callable[[str], object]) -> None:
    """Serve until Ctrl-C.

    Args:
        look: Returns the study as it is now.
        host: The address to listen on.
        port: The port, 0 for any free one.
        say: Called with the URL.
    """
    server = new_server(look, host, port)
    say(f"{url_of(server)}\nCtrl-C ends the dashboard.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


class Server(ThreadingHTTPServer):
    """A server of one page.

    Attributes:
        token: What the URL must contain.
        look: Returns the study as it is now.
    """

    daemon_threads = True
    token: str
    look: Callable[[], StudyView]


def new_server(look: Callable[[], StudyView], host: str, port: int) -> Server:
    """Return a server that listens already; see ``serve``."""
    server = Server((host, port), _Handler)
    server.token, server.look = secrets.token_urlsafe(16), look
    return server


def url_of(server: Server) -> str:
    """Return the URL of the page."""
    host, port = server.server_address[:2]
    return f"http://{host!s}:{port}/?token={server.token}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer with the report."""
        parts = urlsplit(self.path)
        given = parse_qs(parts.query).get("token", [""])[0]
        if parts.path != "/" or not hmac.compare_digest(given.encode(), self.server.token.encode()):
            self._answer(403, "text/plain", "The address must contain the token that was printed.")
            return
        try:
            page = report(self.server.look())
        except StorageError as error:  # the study may be deleted, or its server be down, while it is watched
            self._answer(503, "text/plain", f"The study cannot be read now: {error}")
            return
        refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        self._answer(200, "text/html", page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{refresh}', 1))

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the URLs contain the token."""
