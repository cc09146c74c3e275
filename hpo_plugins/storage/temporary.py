"""Temporary folders that only their user may enter: checkpoints of studies in memory, and sockets.

A process that is killed leaves its folders; the next one removes them. The name of a folder says whose it is.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from hpo_plugins.storage.processes import is_running, name_of

_NAME = re.compile(r"hpo-plugins-([0-9a-f]{8})-(\d+)-(\d*)-[0-9a-f]{8}")
"""The place where process IDs are unique, the process, when it started, and a random part."""
MAX_SOCKET_PATH = 100
"""Bytes of a socket's path that all systems accept; a long TMPDIR leaves no room for it."""


def new_folder(*, max_bytes: int | None = None) -> Path:
    """Return the path of a folder of this process that does not exist yet.

    Args:
        max_bytes: Maximum length of the path; for a short path, other places than the usual one are tried.

    Raises:
        OSError: There is no place for temporary files, or none with a path that short.
    """
    place, pid, started = name_of(os.getpid()).rsplit("/", 2)
    name = f"hpo-plugins-{_digest(place)}-{pid}-{started}-{secrets.token_hex(4)}"
    places = [tempfile.gettempdir()]
    if max_bytes is not None:
        places += ["/tmp", "/var/tmp", f"/run/user/{_user()}"]  # noqa: S108 - the folder is made for this user only
    for parent in places:
        path = Path(parent) / name
        is_short = max_bytes is None or len(os.fsencode(path)) <= max_bytes
        if is_short and os.access(parent, os.W_OK | os.X_OK):
            return path
    raise OSError(f"no folder for temporary files has a path of at most {max_bytes} bytes: {', '.join(places)}")


def make(folder: Path) -> None:
    """Make a folder that ``new_folder`` has named, perhaps in another process, which removes it."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        sweep(os.getpid())


def remove(folder: Path, pid: int) -> None:
    """Remove a folder, unless this is a forked child of the process whose folder it is."""
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def sweep(pid: int) -> None:
    """Remove the folders that killed processes of this machine have left, once in each process."""
    place = name_of(pid).rsplit("/", 2)[0]
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).iterdir():
            name = _NAME.fullmatch(folder.name)
            if name is None or name[1] != _digest(place) or is_running(f"{place}/{name[2]}/{name[3]}-") is not False:
                continue
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid == _user() and not folder.is_symlink():
                    shutil.rmtree(folder, ignore_errors=True)


def _digest(place: str) -> str:
    return sha256(place.encode()).hexdigest()[:8]


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
