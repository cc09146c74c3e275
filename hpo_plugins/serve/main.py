"""What ``hpo-plugins serve`` does: open the storage, find or make the token, say how to connect, serve."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from starlette.routing import BaseRoute

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.serve.app import Acted, create_app
from hpo_plugins.serve.server import address_of, bound, only_server, run
from hpo_plugins.serve.tokens import VARIABLE, default_file, find_token, make_token
from hpo_plugins.serve.wire import MAX_RATE
from hpo_plugins.storage import open_storage
from hpo_plugins.storage.sql import SqlStorage


class Options(NamedTuple):
    """How to serve; see the command's options."""

    host: str = "127.0.0.1"
    port: int = 7777
    certfile: Path | None = None
    keyfile: Path | None = None
    token_file: Path | None = None
    root_path: str = ""
    hosts: tuple[str, ...] = ()
    max_rate: float = MAX_RATE


def main(
    target: str,
    options: Options,
    say: Callable[[str], object],
    routes: Callable[[SqlStorage, str, Callable[[], bool], Acted], Sequence[BaseRoute]] = lambda *_: (),
) -> None:
    """Serve a storage until it is told to end.

    Args:
        target: The path or URL of the storage; a file is created if it does not exist.
        options: How to serve.
        say: Called with what to print.
        routes: Called with the storage, the token, a function that says whether the server ends, and one to call after
            studies were changed; returns further routes, such as those of a page.

    Raises:
        InvalidArgument: The address or the certificate cannot be used, or the storage is no database.
        StorageError: The storage cannot be opened, or is served already; or there is no token.
    """
    storage, reader, ending = open_storage(target), open_storage(target), threading.Event()
    if not isinstance(storage, SqlStorage) or not isinstance(reader, SqlStorage):
        raise InvalidArgument(f"storage must be a path or the URL of a database, but got {storage}.")
    with only_server(storage):
        token, word = _token(options.token_file)
        listener = bound(options.host, options.port)
        url = address_of(listener, is_secure=options.certfile is not None, root_path=options.root_path)
        app = create_app(
            storage,
            token,
            reader=reader,
            routes=functools.partial(routes, reader, token, ending.is_set),
            hosts=options.hosts,
            root_path=options.root_path,
            max_rate=options.max_rate,
        )
        run(
            app,
            [listener],
            certfile=options.certfile,
            keyfile=options.keyfile,
            listening=lambda: say(_greeting(storage, url, word)),
            ending=ending,
        )


def _token(file: Path | None) -> tuple[str, str]:
    """Return the token, and the shell's word for it on this machine."""
    if file is None and VARIABLE in os.environ:
        return find_token() or "", f"${VARIABLE}"
    token = find_token(file) or make_token(file)
    # What is not a terminal may be a log that others read.
    return token, token if sys.stdout.isatty() else f'"$(cat {shlex.quote(str(file or default_file()))})"'


def _greeting(storage: SqlStorage, url: str, word: str) -> str:
    return (
        f'Serving {storage}. Workers use Tuner(storage="{url}"), with the token in their environment:\n\n'
        f"    export {VARIABLE}={word}\n\n"
        f"A browser shows the studies at {url}/?token= with that token at its end. Ctrl-C ends the server."
    )
