"""Checkpoints that machines without a common folder share: on a server, or in a store of objects.

A checkpoint is written to a folder of this machine as ever, packed, and sent, before the study refers to it. It is
fetched when a worker of another machine resumes the trial. Names contain the epoch and the attempt, so a file that is
here already is the same.

A package is a ZIP file without compression: a file, or the files of a folder.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from hpo_plugins.errors import CheckpointError, StorageError
from hpo_plugins.storage.checkpoints import CheckpointPolicy, Checkpoints, Write, newest_of, remove

logger = logging.getLogger("hpo_plugins")

_FILE, _FOLDER = "file", "folder/"


class RemoteFiles(Protocol):
    """Where packages are kept. Names are relative paths, such as ``trial-00003/epoch-000012.1.pt``."""

    def put(self, name: str, package: Path) -> None:
        """Send a package; it is there as a whole or not at all.

        Raises:
            OSError, StorageError: It could not be sent.
        """

    def get(self, name: str, package: Path) -> bool:
        """Fetch a package, and return whether it was there.

        Raises:
            OSError, StorageError: It could not be fetched.
        """

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, without the folder."""

    def remove(self, name: str) -> None:
        """Remove a package, if it is there."""

    def keep(self, folder: str, names: Collection[str]) -> None:
        """Remove the packages of a folder, except those of these names."""

    def clear(self) -> None:
        """Remove what an earlier study of the same name has left."""


class RemoteCheckpoints(Checkpoints):
    """The checkpoints of one study, with copies on this machine.

    Args:
        root: The folder of the copies.
        policy: See ``Checkpoints``.
        files: Where the checkpoints are kept.
    """

    def __init__(self, root: Path, policy: CheckpointPolicy, files: RemoteFiles) -> None:
        """Touch no file yet."""
        super().__init__(root, policy)
        self._files = files

    @property
    def url(self) -> str | None:
        """The URL that the user has given for the checkpoints of all studies, None if they are on a server."""
        url: str | None = getattr(self._files, "url", None)
        return None if url is None else url.rpartition("/")[0]

    def write(self, number: int, attempt: int, epoch: int, write: Write, suffix: str) -> str:
        """Write a checkpoint, and return its path relative to the root once it is kept."""
        relative = super().write(number, attempt, epoch, write, suffix)
        try:
            with _package(self.folder(number)) as package:
                pack(self.root / relative, package)
                self._files.put(relative, package)
        except BaseException as error:
            remove(self.root / relative)
            if isinstance(error, StorageError):
                raise OSError(str(error)) from error
            raise
        return relative

    def find(self, number: int, relative: str) -> Path | None:
        """Return the path of a trial's checkpoint, fetched if it is not here; None if it is nowhere.

        Raises:
            CheckpointError: It could not be fetched, or the path leads out of the root.
        """
        if (here := super().find(number, relative)) is not None:
            return here
        path, folder = self.path(number, relative), self.make_folder(number)
        try:
            with _package(folder) as package:
                if not self._files.get(relative, package):
                    return None
                unpack(package, path)
        except (OSError, StorageError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"The checkpoint {relative} of trial {number} could not be fetched: {error}. Run the script again; or "
                f"train the trial from the start again: tuner.restart({number})."
            ) from error
        return path

    def is_kept(self, number: int, path: str) -> bool:
        """Return whether the checkpoint at a path in a trial's record is there, here or where it is kept."""
        return super().is_kept(number, path) or Path(path).name in self._files.names(self.folder(number).name)

    def fetch(self, number: int, paths: Iterable[str | None]) -> None:
        """Fetch checkpoints of a trial that are not on this machine; a warning names those that cannot be fetched."""
        for path in filter(None, paths):
            try:
                self.find(number, Path(path).relative_to(self.root).as_posix())
            except CheckpointError as error:
                logger.warning("%s", error)

    def newest(self, number: int, attempt: int, epoch: int) -> tuple[str, int] | None:
        """Return the newest checkpoint of a trial that is kept, relative to the root, and its epoch."""
        folder = self.folder(number).name
        return newest_of(folder, self._files.names(folder), attempt, epoch)

    def clear_all(self) -> None:
        """Delete the files of an earlier study of the same name."""
        super().clear_all()
        self._files.clear()

    def discard(self, relative: str) -> None:
        """Delete a checkpoint whose writer has lost its lease."""
        super().discard(relative)
        with _tolerant():
            self._files.remove(relative)

    def _clear(self, number: int, but: Collection[str | None]) -> None:
        super()._clear(number, but)
        folder = self.folder(number).name
        with _tolerant():
            self._files.keep(folder, [name for name in but if name is not None])

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach the same files in the process that unpickles it."""
        return RemoteCheckpoints, (self.root, self.policy, self._files)


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    """Leave a file that cannot be removed now: the next save or end of its trial tries again."""
    try:
        yield
    except (OSError, StorageError) as error:
        logger.debug("checkpoints could not be removed: %s", error)


@contextlib.contextmanager
def _package(folder: Path) -> Iterator[Path]:
    """Yield a name for a package in a trial's folder; what a killed process leaves goes with the trial's next save."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-000000.0-") as made:
        yield Path(made) / "package"


def pack(checkpoint: Path, package: Path) -> None:
    """Pack a file, or a folder with what it contains."""
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as packed:
        if not checkpoint.is_dir():
            packed.write(checkpoint, _FILE)
            return
        packed.writestr(_FOLDER, b"")
        for file in sorted(checkpoint.rglob("*")):
            if file.is_file():
                packed.write(file, _FOLDER + file.relative_to(checkpoint).as_posix())


def unpack(package: Path, checkpoint: Path) -> None:
    """Unpack what ``pack`` has packed; the checkpoint is there as a whole or not at all.

    Raises:
        zipfile.BadZipFile: It is damaged, or not ours.
    """
    with tempfile.TemporaryDirectory(dir=package.parent) as made, zipfile.ZipFile(package) as packed:
        names = packed.namelist()
        if names != [_FILE] and not (names and all(name.startswith(_FOLDER) for name in names)):
            raise zipfile.BadZipFile("it contains neither one file nor one folder")
        packed.extractall(made)  # which keeps every name within the folder
        unpacked = Path(made) / (_FILE if names == [_FILE] else "folder")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        remove(checkpoint)
        unpacked.replace(checkpoint)
