"""The server's side of checkpoints: resumable uploads in parts, downloads in ranges, and the files of each study.

The files are where the storage puts the checkpoints of its own machine, unpacked, so the best model is at hand there.
An upload is a part file, named by the digest of the whole. Each request says at which place its bytes begin, and
receives the number of bytes that are there; after an interruption the client goes on from that place.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
import zipfile
from collections.abc import Collection
from hashlib import file_digest
from pathlib import Path

from hpo_plugins.errors import CheckpointError, InvalidArgument
from hpo_plugins.serve.wire import Range, Upload
from hpo_plugins.storage.checkpoints import remove
from hpo_plugins.storage.remote import pack, unpack

MAX_CHECKPOINT = 64 << 30
"""Maximum bytes of a checkpoint."""
MAX_PART = 8 << 20
"""Maximum bytes of a part of an upload or download."""
ABANDONED_SECONDS = 86_400.0
"""Seconds after which a part of an upload or download that nobody continues is removed."""
_NAME = re.compile(r"trial-\d{5,9}/epoch-\d{6,16}\.\d{1,9}[\w.-]{0,100}")
_FOLDER = re.compile(r"trial-\d{5,9}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Uploads:
    """The checkpoints of one study on the server.

    Args:
        root: Their folder.
        max_bytes: Maximum bytes of a checkpoint.
    """

    def __init__(self, root: Path, max_bytes: int = MAX_CHECKPOINT) -> None:
        """Touch no file yet."""
        self._root, self._max_bytes = root, max_bytes

    def add(self, upload: Upload, content: bytes) -> int:
        """Add a part of a checkpoint, and return how many of its bytes are there; all of them: it is complete.

        Raises:
            InvalidArgument: The name or a number is not allowed.
            CheckpointError: The bytes are not those that the digest belongs to; nothing of them is kept.
        """
        if upload.offset == 0:
            self._sweep()
        path, part = self._path(upload.name), self._root / f"part-upload-{_matching(_DIGEST, upload.digest)}"
        if not 0 <= upload.offset <= upload.size <= self._max_bytes:
            raise InvalidArgument(f"A checkpoint may have {self._max_bytes} bytes, but it has {upload.size}.")
        if path.exists():  # the answer to its last part was lost
            return upload.size
        self._root.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            if file.tell() == upload.offset and upload.offset + len(content) <= upload.size:
                file.write(content)
            there = file.tell()
        if there == upload.size:
            self._complete(part, path, upload.digest)
        return there

    def _complete(self, part: Path, path: Path, digest: str) -> None:
        try:
            with part.open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != digest:
                    raise CheckpointError(f"The checkpoint {path.name} was damaged on its way. Save it again.")
            unpack(part, path)
        except zipfile.BadZipFile as error:
            raise CheckpointError(f"The checkpoint {path.name} is no package: {error}. Save it again.") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, wanted: Range) -> tuple[int, bytes]:
        """Return the size of a checkpoint's package and a part of it; -1 if there is no such checkpoint.

        The package is made for the first part, and removed with the last.
        """
        path = self._path(wanted.name)
        package = self._root / f"part-download-{_matching(_DIGEST, wanted.client)}"
        if wanted.offset == 0:
            self._sweep()
            if not path.exists():
                return -1, b""
            pack(path, package)
        with package.open("rb") as file:
            file.seek(max(wanted.offset, 0))
            content = file.read(MAX_PART)
            size = package.stat().st_size
        if wanted.offset >= size:  # the client has it all
            package.unlink()
        return size, content

    def names(self, folder: str) -> list[str]:
        """Return the names of a trial's checkpoints."""
        try:
            found = [entry.name for entry in (self._root / _matching(_FOLDER, folder)).iterdir()]
        except FileNotFoundError:
            return []
        return [name for name in found if name.startswith("epoch-")]

    def remove(self, name: str) -> None:
        """Remove a checkpoint, and its trial's folder if it was the last one."""
        path = self._path(name)
        remove(path)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def keep(self, folder: str, names: Collection[str]) -> None:
        """Remove the checkpoints of a trial, except those of these names."""
        for name in self.names(folder):
            if f"{folder}/{name}" not in names:
                self.remove(f"{folder}/{name}")

    def _sweep(self) -> None:
        """Remove parts that clients have left behind."""
        for part in self._root.glob("part-*"):
            with contextlib.suppress(FileNotFoundError):  # it is complete now
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink()

    def _path(self, name: str) -> Path:
        return self._root / _matching(_NAME, name)


def move(source: Path, target: Path) -> None:
    """Move the files of a study that was renamed; what is at the target was left by a study that is gone."""
    if source.is_dir() and source != target:
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)


def copy(source: Path, target: Path) -> None:
    """Copy the files of a study that was copied."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text) or not text.isascii():
        raise InvalidArgument(f"A checkpoint of that name is not allowed: {text[:100]!r}.")
    return text
