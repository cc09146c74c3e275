"""The writes of one process to one study on a server: several in one request, and each takes effect once.

One request is under way at a time. Writes of other threads wait meanwhile, and go together in the next one. Each
request has a number, which it keeps when it is repeated, so that the server does it once, also if the answer was lost
or the server was restarted in between.

A thread that has waited for long enough raises an error, and does not know whether its write took effect. The request
stays under way, the next write repeats it first, and a write that is tried again with the same arguments receives the
answer of the first attempt.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from hpo_plugins.errors import HpoError
from hpo_plugins.records import Changes
from hpo_plugins.serve.wire import MAX_CALLS, WriteRequest, encode, result_of
from hpo_plugins.storage.retry import Unreachable


class _Call:
    """One write: its method, its encoded arguments and, once there is one, its answer."""

    def __init__(self, method: str, arguments: bytes) -> None:
        self.method, self.arguments = method, arguments
        self.answer: msgspec.Raw | HpoError | None = None
        self.news: tuple[int, Changes] | None = None
        self.is_given_up = False

    def result(self) -> Any:
        if isinstance(self.answer, HpoError):
            raise self.answer
        return result_of(self.method, self.answer or b"")


class Channel:
    """Sends the writes of one process to one study.

    Args:
        study: The study's identity on the server.
        name: Its name when it was opened.
        post: Sends a request and returns the answer; called with the message and with the seconds to try for.

    Attributes:
        known: The revision that this process knows, -1 before it is known.
    """

    def __init__(self, study: str, name: str, post: Callable[[bytes, float | None], bytes]) -> None:
        """Send nothing yet."""
        self._study, self._name, self._post = study, name, post
        self.known = -1
        self._begin()

    def _begin(self) -> None:
        """Be a new client."""
        self._pid = os.getpid()
        self._client, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._sending, self._changing = threading.Lock(), threading.Lock()
        self._waiting: list[_Call] = []
        self._under_way: tuple[bytes, list[_Call], int] | None = None
        self._given_up: list[_Call] = []

    def write(
        self, method: str, *arguments: Any, patience: float | None = None
    ) -> tuple[Any, tuple[int, Changes] | None]:
        """Return the result of a write and, if others have written, the known revision and what is new since.

        Args:
            method: The method.
            *arguments: Its arguments.
            patience: Seconds of an outage to wait; None for its maximum length.

        Raises:
            Unreachable: The server is away; the write may have taken effect.
            HpoError: The storage raised an error.
        """
        if self._pid != os.getpid():  # a forked child: the parent counts on
            self._begin()
        call = self._enter(_Call(method, encode(arguments)))
        while call.answer is None:
            with self._sending:
                try:
                    if call.answer is None:
                        self._send(patience)
                except BaseException:  # an interrupt, too, leaves it open whether the server has the request
                    self._give_up(call)
                    raise
        return call.result(), call.news

    def _enter(self, call: _Call) -> _Call:
        """Let a call wait for the next request; one that was given up before is continued instead."""
        with self._changing:
            for known in self._given_up:
                if known.is_given_up and (known.method, known.arguments) == (call.method, call.arguments):
                    self._given_up.remove(known)
                    known.is_given_up = False
                    return known
            self._waiting.append(call)
            return call

    def _give_up(self, call: _Call) -> None:
        with self._changing:
            if call in self._waiting:
                self._waiting.remove(call)
            elif call.answer is None and call.method != "renew":  # a later renewal is another one
                call.is_given_up = True
                self._given_up.append(call)

    def _send(self, patience: float | None) -> None:
        """Send the request that is under way or, without one, the calls that wait."""
        if self._under_way is None:
            with self._changing:
                calls = [call for call in self._waiting if call.answer is None][:MAX_CALLS]
                numbered = [(call.method, msgspec.Raw(call.arguments)) for call in calls]
                number = next(self._numbers)
                request = WriteRequest(self._study, self._name, self._client, number, numbered, self.known)
                self._under_way = encode(request), calls, request.since  # before they are removed: see Ctrl-C
                self._waiting = [call for call in self._waiting if call not in calls and call.answer is None]
        message, calls, since = self._under_way
        answers: list[Any]
        news = None
        try:
            answers, news = result_of("write", self._post(message, patience))
        except Unreachable:
            raise
        except HpoError as error:  # the server did none of them
            answers = [error] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            call.news = None if news is None else (since, Changes._make(news))
            call.answer = answer
        self._under_way = None
