"""Calls from ranks on other machines to rank 0: frames of msgpack over TCP, after both sides have proved their key.

Nothing in a frame is code, unlike what the standard library's manager sends within one machine. The handshake keeps
strangers out; as everything that torch sends between machines, the frames themselves are not encrypted.

The handshake, with a random key that both sides have received over the job's rendezvous:

    rank 0 -> rank:  nonce (32 bytes)
    rank -> rank 0:  nonce (32 bytes), HMAC(key, "rank", both nonces)
    rank 0 -> rank:  HMAC(key, "rank 0", both nonces)
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from hpo_plugins.errors import HpoError
from hpo_plugins.serve.wire import error_class

HANDSHAKE_SECONDS = 10.0
MAX_STRANGERS = 64
"""Connections that may be in their handshake at the same time; further ones are closed."""
MAX_FRAME = 1 << 30
_NONCE, _PROOF = 32, 32
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""When the connection to a machine that has vanished counts as broken, where the system can be told."""

Answer = Callable[[str, list[Any]], bytes]
"""Answers a call: its method and its arguments; called in several threads."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where rank 0 listens, and what proves that a rank belongs to its job.

    Args:
        hosts: Names and addresses under which its machine may be reached; the first that answers is used.
        port: The port.
        key: The key of the handshake.
    """

    hosts: list[str]
    port: int
    key: bytes


class _Reply(NamedTuple):
    """The answer to a call: its encoded result or, with an error's class, the error's message."""

    kind: str
    content: bytes


def listen(answer: Answer, host: str = "") -> tuple[int, bytes]:
    """Answer calls at a port of this machine for as long as the process lives; return the port and the key.

    Args:
        answer: Answers a call.
        host: The only address to listen at, "" for all.
    """
    listener, key = _bound(host), secrets.token_bytes(32)
    strangers = threading.BoundedSemaphore(MAX_STRANGERS)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the process ends
                return
            if strangers.acquire(blocking=False):
                _start(lambda client=client: _serve(client, key, answer, strangers.release))  # type: ignore[misc]
            else:
                client.close()

    _start(accept)
    return listener.getsockname()[1], key


def _bound(host: str) -> socket.socket:
    if host:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, 0), family=family)
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # the kernel has no IPv6
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _start(work: Callable[[], object]) -> None:
    threading.Thread(target=work, name="hpo-plugins-ranks", daemon=True).start()


def _serve(client: socket.socket, key: bytes, answer: Answer, known: Callable[[], object]) -> None:
    """Answer the calls of one connection."""
    with client:
        try:
            is_ours = _prove_to_rank(client, key)
        except (OSError, EOFError):
            is_ours = False
        finally:
            known()
        if not is_ours:
            return
        with contextlib.suppress(OSError, EOFError):  # the rank has ended
            while True:
                _send(client, _reply(answer, _receive(client)))


def _reply(answer: Answer, frame: bytes) -> _Reply:
    try:
        method, arguments = _CALL.decode(frame)
        return _Reply("", answer(method, arguments))
    except HpoError as error:
        return _Reply(type(error).__name__, str(error).encode())
    except Exception as error:  # noqa: BLE001 - a rank that waits for ever would be worse
        return _Reply("WorkerError", f"Rank 0 could not answer: {type(error).__name__}: {error}".encode())


_CALL = msgspec.msgpack.Decoder(tuple[str, list[Any]])
_REPLY = msgspec.msgpack.Decoder(_Reply)


class Link:
    """The connections of a rank to rank 0, one for each thread.

    Args:
        place: Where rank 0 listens.
    """

    def __init__(self, place: Place) -> None:
        """Connect when it is first used."""
        self._place = place
        self._of = threading.local()

    def call(self, method: str, *arguments: Any) -> bytes:
        """Return the encoded result of a call.

        Raises:
            OSError, EOFError: Rank 0 has ended, or another program listens there.
            HpoError: Rank 0 has raised it.
        """
        if getattr(self._of, "pid", None) != os.getpid():  # a forked child opens connections of its own
            self._of.held, self._of.pid = _Held(_connected(self._place)), os.getpid()
        connection = self._of.held.connection
        try:
            _send(connection, (method, arguments))
            reply = _REPLY.decode(_receive(connection))
        except msgspec.MsgspecError as error:
            raise OSError(f"rank 0 has sent something else: {error}") from error
        except BaseException:  # an interrupt, too: its answer must not be taken for that of the next call
            self._of.pid = None
            connection.close()
            raise
        if reply.kind:
            raise error_class(reply.kind)(reply.content.decode(errors="replace"))
        return reply.content

    def __reduce__(self) -> tuple[Any, ...]:
        """Connect to the same rank 0 in a child process of this machine."""
        return Link, (self._place,)


class _Held:
    """A connection that is closed with the thread that uses it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        weakref.finalize(self, connection.close)


def _connected(place: Place) -> socket.socket:
    """Return a connection to the first host that answers and has the key."""
    failures: list[Exception] = []
    for host in place.hosts:
        try:
            connection = socket.create_connection((host, place.port), HANDSHAKE_SECONDS)
        except OSError as error:
            failures.append(error)
            continue
        try:
            _prove_to_rank_zero(connection, place.key)
        except (OSError, EOFError) as error:
            connection.close()
            failures.append(error)
        else:
            return connection
    raise OSError(f"rank 0 does not answer at {', '.join(place.hosts)}, port {place.port}: {failures}")


# The handshake.


def _prove_to_rank(connection: socket.socket, key: bytes) -> bool:
    """Return whether the other side has the key; prove that this one has it."""
    until = time.monotonic() + HANDSHAKE_SECONDS
    own = secrets.token_bytes(_NONCE)
    connection.settimeout(HANDSHAKE_SECONDS)
    connection.sendall(own)
    given = _exactly(connection, _NONCE + _PROOF, until)
    nonces = own + given[:_NONCE]
    if not hmac.compare_digest(given[_NONCE:], _proof(key, b"rank", nonces)):
        return False
    connection.sendall(_proof(key, b"rank 0", nonces))
    _keep(connection)
    return True


def _prove_to_rank_zero(connection: socket.socket, key: bytes) -> None:
    """Prove that this side has the key.

    Raises:
        EOFError, OSError: The other side has another key, or is another program.
    """
    until = time.monotonic() + HANDSHAKE_SECONDS
    nonces = _exactly(connection, _NONCE, until) + (own := secrets.token_bytes(_NONCE))
    connection.sendall(own + _proof(key, b"rank", nonces))
    if not hmac.compare_digest(_exactly(connection, _PROOF, until), _proof(key, b"rank 0", nonces)):
        raise EOFError("another program answers")
    _keep(connection)


def _proof(key: bytes, who: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, who + nonces, "sha256")


def _keep(connection: socket.socket) -> None:
    """Wait for as long as the other side lives: an epoch may take hours."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


# Frames: their length in four bytes, then msgpack.


def _send(connection: socket.socket, message: Sequence[Any]) -> None:
    content = msgspec.msgpack.encode(message)
    connection.sendall(struct.pack("!I", len(content)) + content)


def _receive(connection: socket.socket) -> bytes:
    (size,) = struct.unpack("!I", _exactly(connection, 4))
    if size > MAX_FRAME:
        raise EOFError(f"a frame of {size} bytes")
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int, until: float | None = None) -> bytes:
    """Return that many bytes, until a monotonic time if one is given."""
    content = bytearray()
    while len(content) < size:
        if until is not None:
            connection.settimeout(max(until - time.monotonic(), 0.001))
        part = connection.recv(min(size - len(content), 1 << 20))
        if not part:
            raise EOFError("the connection was closed")
        content += part
    return bytes(content)
