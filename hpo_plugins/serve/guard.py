"""The guard in front of every web page and service of this package: who may ask, how much, and for how long.

A request passes if it carries the token, in one of three ways:

* ``Authorization: Bearer TOKEN``, as our clients do;
* the cookie of a browser that has opened the address with the token once;
* ``?token=TOKEN`` of a GET request: the answer sets the cookie, and redirects to the address without the token, which
  would otherwise stay in the browser's history.

A browser sends its cookie along with what other pages ask it to send. Requests without the ``Authorization`` header
must therefore name this server as their host (DNS rebinding), and any request with an ``Origin`` must come from its
own pages (CSRF); the cookie is ``SameSite=Strict``, and holds a value derived from the token instead of the token.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import time
from collections.abc import Iterable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpo_plugins.serve.wire import MAX_RATE

MAX_BODY = 16 << 20
"""Maximum bytes of a request's body."""
BODY_SECONDS = 20.0
"""Seconds within which a request's body must have arrived."""
SEND_SECONDS = 20.0
"""Seconds within which a client must take a part of an answer."""
MAX_FAILURES = 20
"""Requests without the token that an address may send in ``FAILURE_SECONDS``."""
FAILURE_SECONDS = 60.0
BURST_SECONDS = 2.0
"""Seconds' worth of requests that an address may send at once."""
_MAX_ADDRESSES = 10_000
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Guard:
    """An ASGI application that lets only authorized requests of limited size and duration through to another one.

    Args:
        app: The application.
        token: The token.
        hosts: Further names of this server, such as that of a proxy in front of it.
        max_body: Maximum bytes of a request's body.
        body_seconds: Seconds within which a request's body must have arrived.
        send_seconds: Seconds within which a client must take a part of an answer.
        max_rate: Requests a second that an address may send with the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        *,
        hosts: Iterable[str] = (),
        max_body: int = MAX_BODY,
        body_seconds: float = BODY_SECONDS,
        send_seconds: float = SEND_SECONDS,
        max_rate: float = MAX_RATE,
    ) -> None:
        """Let nothing through yet."""
        self._app = app
        self._token = token
        self._hosts = {"localhost", socket.gethostname().casefold(), *(host.casefold() for host in hosts)}
        self._max_body, self._body_seconds, self._send_seconds = max_body, body_seconds, send_seconds
        self._failures, self._rates = _Failures(), _Rates(max_rate)
        self._cookie = hmac.new(token.encode(), b"the cookie of a browser", "sha256").hexdigest()
        self._cookie_name = "hpo_plugins_" + hmac.new(token.encode(), b"its name", "sha256").hexdigest()[:8]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, _limited_send(send, self._send_seconds))
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        limited = _Body(receive, self._max_body, self._body_seconds)
        is_started = False

        async def watched(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await limited_send(message)

        limited_send = _limited_send(send, self._send_seconds)
        try:
            await self._app(scope, limited, watched)
        except HTTPException as error:  # of an application without a handler of its own
            if is_started:
                raise
            await _answer(error.status_code, error.detail)(scope, limited, limited_send)

    # Who may ask.

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that must not pass, None if it may."""
        headers, address = Headers(scope=scope), (scope.get("client") or ("",))[0]
        has_token = self._is_token(_bearer(headers))
        name = _host_of(headers.get("host", ""))
        if not has_token and not self._is_ours(name):
            return _answer(
                421, f"This server is not {name!r}. If it is, start it with that name: --allowed-host {name}."
            )
        if not self._is_own_origin(headers):
            return _answer(403, "Requests of another site's pages are refused.")
        if has_token:
            return self._too_much(headers, address)
        if self._failures.are_too_many(address):
            return _answer(429, "Too many requests without the right token. Wait a minute.")
        if hmac.compare_digest(self._cookie_of(headers), self._cookie.encode()):
            return self._too_much(headers, address)
        if scope["method"] == "GET" and self._is_token(_query_token(scope)):
            return self._signed_in(scope)
        self._failures.add(address)
        sentence = "This server needs its token. Services send it as Authorization: Bearer TOKEN; in a browser, open "
        return _answer(401, sentence + "the address that was printed.", {"WWW-Authenticate": "Bearer"})

    def _too_much(self, headers: Headers, address: str) -> Response | None:
        if not self._rates.allows(address):
            return _answer(429, "This address sends too many requests. Wait a second.", {"Retry-After": "1"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) <= self._max_body:
            return None
        return _answer(413, f"A request may have {self._max_body} bytes.", {"Connection": "close"})

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    def _is_ours(self, name: str) -> bool:
        return name in self._hosts or _is_ip_address(name)  # rebinding needs a name

    def _is_own_origin(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site") != "cross-site" or headers.get("sec-fetch-mode") == "navigate"
        place = urlsplit(origin).netloc.casefold()
        return place == headers.get("host", "").casefold() or _host_of(place) in self._hosts - {"localhost"}

    def _cookie_of(self, headers: Headers) -> bytes:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            return b""
        return b"" if found is None else found.value.encode(errors="replace")

    def _signed_in(self, scope: Scope) -> Response:
        """Return the answer that sets the cookie and leads to the address without the token."""
        query = [(name, value) for name, value in _query(scope) if name != "token"]
        root = scope.get("root_path", "")
        path = scope["path"] if scope["path"].startswith(root) else root + scope["path"]
        target = "/" + path.lstrip("/") + ("?" + urlencode(query) if query else "")  # never //host
        answer = RedirectResponse(target, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        secure, path = scope["scheme"] == "https", root or "/"
        answer.set_cookie(self._cookie_name, self._cookie, path=path, secure=secure, httponly=True, samesite="strict")
        return answer


class _Failures:
    """Counts the requests without the token of each address."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, float]] = {}

    def are_too_many(self, address: str) -> bool:
        return self._recent(address)[0] >= MAX_FAILURES

    def add(self, address: str) -> None:
        count, since = self._recent(address)
        if len(self._of) >= _MAX_ADDRESSES:  # a flood from many addresses: forget all rather than fill the memory
            self._of.clear()
        self._of[address] = count + 1, since

    def _recent(self, address: str) -> tuple[int, float]:
        now = time.monotonic()
        count, since = self._of.get(address, (0, now))
        return (count, since) if now - since < FAILURE_SECONDS else (0, now)


class _Rates:
    """Limits the requests of each address: a bucket that fills at a rate, and from which each request takes one."""

    def __init__(self, rate: float) -> None:
        self._rate, self._size = rate, max(rate * BURST_SECONDS, 1.0)
        self._of: dict[str, tuple[float, float]] = {}

    def allows(self, address: str) -> bool:
        now = time.monotonic()
        left, since = self._of.get(address, (self._size, now))
        left = min(left + (now - since) * self._rate, self._size)
        if len(self._of) >= _MAX_ADDRESSES:
            self._of.clear()
        self._of[address] = (left - 1.0 if left >= 1.0 else left), now
        return left >= 1.0


class _Body:
    """The messages of a request's body, as long as they are few and in time.

    Raises:
        HTTPException: There are too many bytes (413), or they come too slowly (408).
    """

    def __init__(self, receive: Receive, max_body: int, seconds: float) -> None:
        self._receive, self._left, self._max_body = receive, max_body, max_body
        self._until, self._is_complete = asyncio.get_running_loop().time() + seconds, False

    async def __call__(self) -> Message:
        if (
            self._is_complete
        ):  # what comes now is the end of the connection, for which a stream waits as long as it lives
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, "The request came too slowly.", {"Connection": "close"}) from error
        self._left -= len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._left < 0:
            raise HTTPException(413, f"A request may have {self._max_body} bytes.", {"Connection": "close"})
        return message


def _limited_send(send: Send, seconds: float) -> Send:
    """Return a ``send`` that adds the headers of every answer, and gives up on a client that takes nothing."""

    async def limited(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        async with asyncio.timeout(seconds):
            await send(message)

    return limited


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, {**_HEADERS, **(headers or {})})


def _bearer(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.casefold() == "bearer" else ""


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=32)
    except ValueError:  # too many fields
        return []


def _query_token(scope: Scope) -> str:
    return dict(_query(scope)).get("token", "")


def _host_of(place: str) -> str:
    """Return the name in ``name:port``."""
    try:
        return (urlsplit(f"//{place}").hostname or "").casefold()
    except ValueError:
        return ""


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
