"""Temporary folders of this process, which only its user may enter: checkpoints of studies in memory, and sockets.

A process that is killed leaves its folders; the next one removes them. Each folder names its process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hpo_plugins.storage.processes import is_running, name_of

_PREFIX = "hpo-plugins-"
_OWNER = "process"
"""The file in a folder that names its process."""
MAX_SOCKET_PATH = 100
"""Bytes of a socket's path that all systems accept; a long TMPDIR leaves no room for it."""


def new_folder(*, max_bytes: int | None = None) -> Path:
    """Return the path of a folder that does not exist yet.

    Args:
        max_bytes: Maximum length of the path; for a short path, other places than the usual one are tried.

    Raises:
        OSError: There is no place for temporary files, or none with a path that short.
    """
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    places = [tempfile.gettempdir()]
    if max_bytes is not None:
        places += ["/tmp", "/var/tmp", f"/run/user/{_user()}"]  # noqa: S108 - the folder is made for this user only
    for place in places:
        path = Path(place) / name
        is_short = max_bytes is None or len(os.fsencode(path)) <= max_bytes
        if is_short and os.access(place, os.W_OK | os.X_OK):
            return path
    raise OSError(f"no folder for temporary files has a path of at most {max_bytes} bytes: {', '.join(places)}")


def make(folder: Path, at_exit: Callable[..., object] = atexit.register) -> None:
    """Make a folder that ``new_folder`` has named; it is removed when this process exits.

    Args:
        folder: The folder.
        at_exit: Registers a function with its arguments to be called at the exit of this process.
    """
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700)
    (folder / _OWNER).write_text(f"{name_of(os.getpid())}-", encoding="utf-8")
    at_exit(remove, folder, os.getpid())
    sweep(os.getpid())


def remove(folder: Path, pid: int) -> None:
    """Remove a folder, unless this is a forked child of the process that has made it."""
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def sweep(pid: int) -> None:  # noqa: ARG001 - once in each process
    """Remove the folders that killed processes of this machine have left."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError, UnicodeError):
                is_ours = folder.lstat().st_uid == _user() and not folder.is_symlink()
                if is_ours and is_running((folder / _OWNER).read_text(encoding="utf-8")) is False:
                    shutil.rmtree(folder, ignore_errors=True)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
