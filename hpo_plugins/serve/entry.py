"""How requests reach a server: through a proxy that shows it under a path, or from a frame in a notebook."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = re.compile(r"(/[\w.~%@:+-]+)+", re.ASCII)


class Prefixed:
    """Accepts requests both with and without the path under which a proxy shows the server.

    Args:
        app: The application.
        root: The path; a proxy may also name it in ``X-Forwarded-Prefix``.
    """

    def __init__(self, app: ASGIApp, root: str = "") -> None:
        """Pass nothing on yet."""
        self._app = app
        self._root = "/" + root.strip("/") if root.strip("/") else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the path as the proxy's clients see it."""
        if scope["type"] == "http" and (root := self._root or _forwarded(scope)):
            path = scope["path"]
            is_whole = path == root or path.startswith(f"{root}/")
            whole = path if is_whole else root + path
            scope = {**scope, "root_path": root, "path": f"{root}/" if whole == root else whole}
        await self._app(scope, receive, send)


def _forwarded(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    return given if _PREFIX.fullmatch(given) and not scope.get("root_path") else ""


class TokenInAddress:
    """Accepts the token of an address as if it were in the header: frames of other sites have no cookies.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Pass nothing on yet."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its header replaces the token in its address."""
        if scope["type"] == "http" and "authorization" not in Headers(scope=scope) and (token := _token(scope)):
            header = (b"authorization", b"Bearer " + token.encode("utf-8", "replace"))
            scope = {**scope, "headers": [*scope["headers"], header]}
        await self._app(scope, receive, send)


def _token(scope: Scope) -> str:
    try:
        return str(parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=32).get("token", [""])[0])
    except ValueError:  # too many fields
        return ""
