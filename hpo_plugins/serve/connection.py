"""A client's connection to a server: requests with the token, waits while the server is away, errors as ours."""

from __future__ import annotations

import http.client
import math
import time
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from hpo_plugins import __version__
from hpo_plugins.errors import StorageError
from hpo_plugins.serve.tokens import FILE_VARIABLE, VARIABLE, default_file, find_token
from hpo_plugins.serve.transport import Response, Transport
from hpo_plugins.serve.wire import (
    PROTOCOL,
    PROTOCOL_HEADER,
    UPTIME_HEADER,
    VERSION_HEADER,
    encode,
    error_class,
    failure_of,
    result_of,
)
from hpo_plugins.storage import retry
from hpo_plugins.storage.redact import redacted
from hpo_plugins.storage.retry import Outage, Unreachable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""Seconds that a server may take for an answer; then it counts as unreachable."""
_LASTING = (
    "name or service not known",
    "nodename nor servname",
    "getaddrinfo failed",
    "unknown protocol",
    "wrong_version",
)
"""Parts of errors that do not pass by themselves: the address is wrong."""
_AWAY = (429, 502, 503, 504)
"""What a server or a proxy answers while the server is away or overloaded."""


class Connection:
    """The connection to one server, for all threads of a process; a forked child opens its own.

    Args:
        url: The server's address, such as http://host:7777.

    Raises:
        StorageError: The URL is wrong, or there is no token.
    """

    def __init__(self, url: str) -> None:
        """Read the token; the connection is opened by the first request."""
        self.url = _checked_url(url)
        token = find_token()
        if token is None:
            raise StorageError(
                f"{self.url} needs the token of its server: set {VARIABLE}, or copy the server's file {default_file()} "
                f"to the same place here (another place: {FILE_VARIABLE})."
            )
        place = urlsplit(self.url)
        is_secure, name = place.scheme == "https", place.hostname or ""
        self._path = f"{place.path}/api/"
        self._headers = {
            "host": place.netloc.encode("idna" if not place.netloc.isascii() else "ascii").decode(),
            "authorization": f"Bearer {token}",
            "user-agent": f"hpo-plugins/{__version__}",
            PROTOCOL_HEADER: str(PROTOCOL),
            VERSION_HEADER: __version__,
        }
        port = place.port or (443 if is_secure else 80)
        self._transport = Transport(name, port, is_secure=is_secure, connect_seconds=CONNECT_SECONDS)
        self.outage = Outage(self.url)
        self._started = -math.inf  # when the server was started, by this process's monotonic clock

    @property
    def reachable_since(self) -> float:
        """When the last outage ended, by ``time.monotonic()``: one that was seen here, or the server's restart."""
        return max(self.outage.ended, self._started)

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the result of a storage's method.

        Raises:
            StorageError: The server cannot be reached, or its storage raised an error.
        """
        return result_of(method, self.post(f"storage/{method}", encode(arguments)))

    def post(self, path: str, body: bytes, patience: float | None = None, wait: float = 0.0) -> bytes:
        """Return the answer to a request, which is repeated while the server is away.

        Args:
            path: The route, below ``/api/``.
            body: The message.
            patience: Seconds of an outage to wait; None for its maximum length.
            wait: Seconds for which the server may wait on purpose.

        Raises:
            Unreachable: The server is away.
            StorageError: It refused the request, or its storage raised an error.
        """
        began = time.monotonic()
        patience = retry.MAX_OUTAGE_SECONDS if patience is None else min(patience, retry.MAX_OUTAGE_SECONDS)
        while True:
            try:
                answer = self.exchange(path, body, wait + min(ANSWER_SECONDS, max(patience, 1.0)))
            except Unreachable as error:
                if not self.outage.wait(error, began, patience):
                    raise
            else:
                self.outage.end()
                return answer

    def exchange(self, path: str, body: bytes, seconds: float = ANSWER_SECONDS) -> bytes:
        """Return the answer to a request that is sent once.

        Raises:
            Unreachable: The server is away.
            StorageError: It refused the request, or its storage raised an error.
        """
        try:
            response = self._transport.request("POST", self._path + path, self._headers, body, seconds)
        except (http.client.HTTPException, OSError) as error:
            raise self._unreachable(error) from error
        self._check(response)
        return response.content

    def __reduce__(self) -> tuple[Any, ...]:
        """Connect to the same server in the process that unpickles it, which finds the token where this one has."""
        return Connection, (self.url,)

    # Answers.

    def _unreachable(self, error: Exception) -> StorageError:
        """Return the error for a request without an answer: one that may pass, unless the address is wrong."""
        cause = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in cause:
            return StorageError(
                f"{self.url} has a certificate that is not trusted here: {cause}. Name the file of its authority in "
                "the environment variable SSL_CERT_FILE."
            )
        kind = StorageError if any(words in cause.casefold() for words in _LASTING) else Unreachable
        return kind(f"{self.url} cannot be reached: {cause}. Check the address, and that hpo-plugins serve runs there.")

    def _check(self, response: Response) -> None:
        """Raise the error that an answer stands for."""
        if response.status in _AWAY:
            raise Unreachable(f"{self.url} is away or busy: it answers {response.status}.")
        protocol = response.headers.get(PROTOCOL_HEADER)
        if protocol is None:
            self._refuse_stranger(response)
        if protocol != str(PROTOCOL):
            raise StorageError(
                f"{self.url} runs hpo-plugins {response.headers.get(VERSION_HEADER)} (protocol {protocol}), and this "
                f"is {__version__} (protocol {PROTOCOL}). Upgrade the older one: pip install -U hpo-plugins"
            )
        uptime = response.headers.get(UPTIME_HEADER, "")
        if uptime.isdecimal():
            self._started = max(self._started, time.monotonic() - float(uptime) - 1.0)
        if response.status != 200:
            failure = failure_of(response.content)
            raise error_class(failure.kind)(failure.message)

    def _refuse_stranger(self, response: Response) -> NoReturn:
        """Raise the error that an answer without our version stands for: the guard's, or another program's."""
        status, text = response.status, response.content.decode(errors="replace").strip().splitlines()
        if status == 401:
            raise StorageError(
                f"{self.url} refused the token. Set {VARIABLE} to the token of that server, or copy its file."
            )
        raise StorageError(
            f"{self.url} is no server of hpo-plugins, or a proxy is in between: it answered {status} "
            f"{redacted(text[0][:200]) if text else ''!r}. Give the address that hpo-plugins serve has printed."
        )


def _checked_url(url: str) -> str:
    """Return a URL without a slash at its end.

    Raises:
        StorageError: It contains more than an address and a path.
    """
    try:
        place = urlsplit(url)
        is_place = bool(place.hostname) and place.port != 0
        place.netloc.encode("idna" if not place.netloc.isascii() else "ascii")
    except (UnicodeError, ValueError) as error:
        raise StorageError(
            f"storage must be a URL like http://host:7777, but got {redacted(url)!r}: {error}."
        ) from error
    is_plain = url.isprintable() and " " not in url
    if not is_place or not is_plain or place.username is not None or place.query or place.fragment:
        raise StorageError(
            f"storage must be a URL like http://host:7777, but got {redacted(url)!r}. The token is not part of it: set "
            f"{VARIABLE}."
        )
    return place._replace(scheme=place.scheme.lower(), path=quote(place.path, safe="/%")).geturl().rstrip("/")
