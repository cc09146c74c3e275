"""What client and server say to each other: msgpack, with the methods and types of the storage protocol.

The table of methods is read from ``StudyStore`` and ``ManagedStorage``: the types of a method's arguments and of its
result are its annotations, and the rows are the classes of ``records``, as everywhere. A message of another shape is an
error before anything is done.

Writes of one client to one study are numbered requests, each with one call or several. The server does a request once,
however often it arrives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from hpo_plugins import errors
from hpo_plugins.errors import StorageError
from hpo_plugins.records import ActionRow, Changes, TrialRow
from hpo_plugins.storage.protocol import Definition, ManagedStorage, StudyStore

T = TypeVar("T")

PROTOCOL = 1
"""The version of what this module defines. It changes when an older client or server could not go on."""
PROTOCOL_HEADER, VERSION_HEADER, UPTIME_HEADER = "hpo-protocol", "hpo-version", "hpo-uptime"
WRITES = ("acquire", "claim", "define", "drop_checkpoint", "enqueue", "log", "renew", "report", "update")
"""The methods of a study that write. All of them go through the route ``write``."""
NOTABLE = ("acquire", "drop_checkpoint", "enqueue", "log", "update")
"""Writes that may bring work to a worker that waits for some; reports and renewals are many."""
STORAGE_METHODS = ("names", "counts")
"""The methods of a storage that are called as they are; the others have messages of their own."""
MAX_CALLS = 16
"""Maximum number of calls in a request."""
MAX_RATE = 5_000.0
"""Requests a second that an address may send with the token; more than workers on one machine need."""


class WriteRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Writes to a study.

    Args:
        study: The study's identity, which ``open`` has returned.
        name: Its name then, by which it is found faster.
        client: The client, a random name.
        number: The client's requests are numbered from 1; one that is repeated keeps its number.
        calls: Methods and their encoded arguments.
        since: The revision that the client knows: if others have written since, the answer contains what is new, which
            saves a request; -1 for nothing.
    """

    study: str
    name: str
    client: str
    number: int
    calls: list[tuple[str, msgspec.Raw]]
    since: int = -1


class ChangesRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A request for what is new in a study, or to wait for it.

    Args:
        study: The study's identity.
        name: Its name when it was opened.
        since: The revision that is known.
        seconds: The longest wait.
    """

    study: str
    name: str
    since: int
    seconds: float = 0.0


class Upload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A part of a checkpoint that is sent to the server.

    Args:
        study: The study's identity.
        study_name: Its name when it was opened.
        name: The checkpoint's relative path.
        digest: The SHA-256 of its package.
        offset: The place of the part in the package, in bytes.
        size: The package's size in bytes.
    """

    study: str
    study_name: str
    name: str
    digest: str
    offset: int
    size: int


class Range(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A request for a part of a checkpoint.

    Args:
        study: The study's identity.
        study_name: Its name when it was opened.
        name: The checkpoint's relative path.
        client: A random name of the download: 64 hexadecimal digits.
        offset: The place of the part in the package, in bytes.
    """

    study: str
    study_name: str
    name: str
    client: str
    offset: int


class Opened(msgspec.Struct, array_like=True, frozen=True):
    """A study that was opened: its identity, and its definition."""

    study: str
    definition: Definition


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """An error: the name of its class, and its message."""

    kind: str
    message: str


def _fields_type() -> type[msgspec.Struct]:
    """Return the type of the fields that an update may name."""
    hints = get_type_hints(TrialRow)
    fields = [
        (field.name, hints[field.name] | msgspec.UnsetType, msgspec.UNSET) for field in dataclasses.fields(TrialRow)
    ]
    named = {name: (name, kind, default) for name, kind, default in fields}
    named["ended_at"] = ("ended_at", bool | msgspec.UnsetType, msgspec.UNSET)  # True stands for now
    return msgspec.defstruct("Fields", list(named.values()), forbid_unknown_fields=True)


_FIELDS = _fields_type()


def _signature(owner: type, method: str) -> tuple[Any, Any]:
    """Return the type of a method's arguments, a tuple, and that of its result."""
    hints = get_type_hints(getattr(owner, method))
    result = hints.pop("return")
    hints.pop("is_patient", None)  # for how long the client tries
    if "fields" in hints:
        hints["fields"] = _FIELDS
    return tuple[tuple(hints.values())] if hints else tuple[()], result  # type: ignore[misc]  # made at run time


def _changes_type() -> Any:
    """Return the type of ``Changes`` as it is read: what is iterated over once is a list then."""
    kinds = get_type_hints(Changes).values()
    lists = [list[get_args(kind)] if get_origin(kind) is Iterable else kind for kind in kinds]  # type: ignore[misc]
    return tuple[tuple(lists)]  # type: ignore[misc]


_CHANGES = _changes_type()
_SIGNATURES = {
    **{method: _signature(StudyStore, method) for method in WRITES},
    **{method: _signature(ManagedStorage, method) for method in STORAGE_METHODS},
    "open": (tuple[str, Definition | None], Opened),
    "identify": (tuple[str], str),
    "rename": (tuple[str, str, str], None),  # the study's identity, its name, the new name
    "delete": (tuple[str, str], None),  # the study's identity, its name
    "copy": (tuple[str, str, str], None),  # a random name of the request, the study's name, the new name
    "changes": (ChangesRequest, _CHANGES),
    "wait": (ChangesRequest, None),
    "actions": (ChangesRequest, list[ActionRow]),
    "upload": (tuple[Upload, bytes], int),
    "download": (tuple[Range], tuple[int, bytes]),
    "list": (tuple[str, str, str], list[str]),
    "remove": (tuple[str, str, str], None),
    "keep": (tuple[str, str, str, list[str]], None),
    "write": (WriteRequest, tuple[list[msgspec.Raw], _CHANGES | None]),  # type: ignore[valid-type]  # made at run time
}
_ARGUMENTS = {method: msgspec.msgpack.Decoder(kind) for method, (kind, _) in _SIGNATURES.items()}
_RESULTS = {method: msgspec.msgpack.Decoder(kind) for method, (_, kind) in _SIGNATURES.items()}
_FAILURE = msgspec.msgpack.Decoder(Failure)


def encode(message: Any) -> bytes:
    """Return a message as bytes.

    Raises:
        StorageError: It contains what cannot be sent: a whole number of more than 64 bits, or text that is no text.
    """
    try:
        return msgspec.msgpack.encode(message)
    except (OverflowError, TypeError, ValueError) as error:
        raise StorageError(
            f"A storage over HTTP takes whole numbers of up to 64 bits and text without lone surrogates: {error}. Use "
            "other values, or their text: str(value)."
        ) from error


def arguments_of(method: str, message: bytes | msgspec.Raw) -> Any:
    """Return the arguments of a method.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: They are of other types, or no msgpack.
    """
    return _ARGUMENTS[method].decode(message)


def fields_of(given: Any) -> dict[str, Any]:
    """Return the fields that an update names."""
    return {name: value for name in given.__struct_fields__ if (value := getattr(given, name)) is not msgspec.UNSET}


def result_of(method: str, message: bytes | msgspec.Raw) -> Any:
    """Return the result of a method.

    Raises:
        StorageError: It is of another type: the server is another program.
    """
    return _decoded(_RESULTS[method].decode, message)


def failure_of(message: bytes) -> Failure:
    """Return an error that a server has answered with.

    Raises:
        StorageError: It is something else.
    """
    return _decoded(_FAILURE.decode, message)


def error_class(kind: str) -> type[errors.HpoError]:
    """Return the class of an error that another process has raised: ours, by its name."""
    found = getattr(errors, kind, StorageError)
    is_ours = isinstance(found, type) and issubclass(found, errors.HpoError)
    return found if is_ours and found is not errors.MetricNotFound else StorageError  # which takes other arguments


def _decoded(decode: Callable[[Any], T], message: bytes | msgspec.Raw) -> T:
    try:
        return decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(f"The server's answer cannot be read, so it is another program: {error}.") from error
