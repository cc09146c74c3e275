"""The checkpoint files of a study: their names, atomic writes and deletion.

All checkpoints of a study are under one root, one folder per trial. The storage keeps their paths relative to the
root, so a study can be moved together with its root; a path that leads out of the root is never opened.

A checkpoint is written under a temporary name and renamed when it is complete, so a process that is killed while
writing leaves the previous one. Names contain the attempt, so a worker that has lost its lease without noticing cannot
overwrite the checkpoint of its successor.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from hpo_plugins._validation import choice
from hpo_plugins.errors import CheckpointError
from hpo_plugins.storage import temporary
from hpo_plugins.storage.places import replace

Write = Callable[[Path], object]
"""Writes a checkpoint to a path that does not exist yet."""
CheckpointPolicy = Literal["auto", "best", "keep", "pauses"]
"""Which checkpoints are written and kept; see ``Tuner``."""

_NAME = re.compile(r"(?P<kind>epoch|part)-(?P<epoch>\d{6,})\.(?P<attempt>\d+)")
MAX_SAVE_SHARE = 0.05
"""Maximum share of the time that saving running training runs may take."""
MIN_SAVE_INTERVAL = 1.0
"""Minimum seconds between two checkpoints of a running training run."""


class Checkpoints:
    """The checkpoints of one study.

    Args:
        root: The folder that contains them.
        policy: ``"auto"`` deletes those that are no longer needed; ``"best"`` is ``"auto"`` with one of the study's
            best epoch; ``"keep"`` deletes none; ``"pauses"`` is ``"auto"`` without checkpoints of running training
            runs.
        private: A folder above the root that only this user may enter; None if the root is the user's own choice.

    Raises:
        InvalidArgument: ``policy`` is anything else.
    """

    def __init__(
        self, root: str | os.PathLike[str], policy: CheckpointPolicy = "auto", private: Path | None = None
    ) -> None:
        """Touch no file yet; the first save creates the folders."""
        self.root = Path(root)
        self._private = private
        self.policy: CheckpointPolicy = choice("checkpoints", policy, get_args(CheckpointPolicy))

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.root / f"trial-{number:05d}"

    def make_folder(self, number: int) -> Path:
        """Return the folder of a trial, which exists then."""
        if self._private is not None:
            temporary.make(self._private)
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, number: int, attempt: int, epoch: int, write: Write, suffix: str) -> str:
        """Write a checkpoint, and return its path relative to the root once it is complete and on the disk.

        Args:
            number: The trial.
            attempt: The attempt that saves it.
            epoch: The epoch of the checkpoint.
            write: Called with a path, writes the checkpoint there.
            suffix: What the path ends with.


        Raises:
            OSError: It could not be written; nothing is left of it.
            CheckpointError: ``write`` created no file at the given path.
        """
        folder = self.make_folder(number)
        name = f"{epoch:06d}.{attempt}{suffix}"
        temporary, final = folder / f"part-{name}", folder / f"epoch-{name}"
        remove(temporary)
        try:
            write(temporary)
            _sync(temporary)
            remove(final)
            replace(temporary, final)
            sync_folder(folder)
        except BaseException:
            remove(temporary)
            raise
        return final.relative_to(self.root).as_posix()

    def find(self, number: int, relative: str) -> Path | None:
        """Return the path of a trial's checkpoint, None if nothing is there; see ``path``."""
        path = self.path(number, relative)
        return path if path.exists() else None

    def path(self, number: int, relative: str) -> Path:
        """Return the path of a trial's checkpoint, whether or not something is there.

        Raises:
            CheckpointError: The path leads out of the root.
        """
        root = self.root.resolve()
        path = (root / relative).resolve()
        if not path.is_relative_to(root):
            raise CheckpointError(
                f"The checkpoint of trial {number} must lie in the study's folder {root}, but the storage says "
                f"{relative!r}, and no file outside of it is opened. To train trial {number} from the start again: "
                f"tuner.restart({number})."
            )
        return path

    def is_kept(self, number: int, path: str) -> bool:  # noqa: ARG002 - other places need it
        """Return whether the checkpoint at a path in a trial's record is there."""
        return Path(path).exists()

    def fetch(self, number: int, paths: Iterable[str | None]) -> None:
        """Make sure that checkpoints of a trial are on this machine, for who reads a record: here, they are."""

    def newest(self, number: int, attempt: int, epoch: int) -> tuple[str, int] | None:
        """Return the newest checkpoint of a trial that is there, relative to the root, and its epoch; None without one.

        Args:
            number: The trial.
            attempt: The last attempt that may have written it.
            epoch: The last epoch that it may be of.
        """
        folder, names = self.folder(number), []
        with contextlib.suppress(OSError):
            names = [] if folder.is_symlink() else [entry.name for entry in folder.iterdir()]
        return newest_of(folder.name, names, attempt, epoch)

    def clear_all(self) -> None:
        """Delete the files of an earlier study of the same name; its checkpoints must not be used for this study."""
        with contextlib.suppress(OSError):
            for folder in self.root.glob("trial-*"):
                if not folder.is_symlink() and (number := folder.name.removeprefix("trial-")).isdigit():
                    self._clear(int(number), ())

    def discard(self, relative: str) -> None:
        """Delete a checkpoint whose writer has lost its lease."""
        remove(self.root / relative)

    def clear(self, number: int, but: Collection[str | None] = ()) -> None:
        """Delete the checkpoints of a trial except some, and the remains of interrupted writes."""
        if self.policy != "keep":
            self._clear(number, but)

    def _clear(self, number: int, but: Collection[str | None]) -> None:
        folder = self.folder(number)
        if not folder.is_dir() or folder.is_symlink():
            return
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:  # another process has just deleted it
            return
        for entry in entries:
            if (
                _NAME.match(entry.name) and entry.relative_to(self.root).as_posix() not in but
            ):  # the user's own files stay
                remove(entry)
        if not any(but):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


@dataclass
class SaveTimer:
    """Decides when to save a running training run: when the cost of the last save is small in comparison.

    A kill then loses at most about ``cost / MAX_SAVE_SHARE`` seconds of training, plus an epoch.
    """

    last: float = field(default_factory=time.perf_counter)
    cost: float = 0.0

    def is_due(self) -> bool:
        """Return whether a checkpoint is worth its cost now."""
        return time.perf_counter() - self.last >= max(MIN_SAVE_INTERVAL, self.cost / MAX_SAVE_SHARE)

    def saved(self, cost: float) -> None:
        """Record the seconds that writing a checkpoint took."""
        self.last, self.cost = time.perf_counter(), cost


def newest_of(folder: str, names: Iterable[str], attempt: int, epoch: int) -> tuple[str, int] | None:
    """Return the newest of the checkpoints of a trial, with its folder, and its epoch; None without one.

    Args:
        folder: The trial's folder.
        names: The names in it.
        attempt: The last attempt that may have written it.
        epoch: The last epoch that it may be of.
    """
    found = []
    for entry in names:
        name = _NAME.match(entry)
        if name and name["kind"] == "epoch" and int(name["attempt"]) <= attempt and int(name["epoch"]) <= epoch:
            found.append((int(name["epoch"]), int(name["attempt"]), f"{folder}/{entry}"))
    return (max(found)[2], max(found)[0]) if found else None


def sync_folder(folder: Path) -> None:
    """Wait until a new name in a folder is on the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


_IGNORES_CASE = sys.platform in ("win32", "darwin")
"""Whether names that differ in case only are usually one file here."""
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for itself."""


def folder_name(study: str, *, is_local: bool = True) -> str:
    """Return a name for a study's folder: readable, safe as a path, and different for different studies.

    Args:
        study: The study.
        is_local: Whether it is a path on this machine, whose file system may ignore case, rather than part of a URL.
    """
    safe = re.sub(r"[^\w.-]", "_", study)[:80]
    is_safe = safe == study and bool(safe.strip("."))
    if is_local and _IGNORES_CASE:
        is_safe = is_safe and safe == safe.casefold() and not safe.endswith(".") and not _DEVICE.match(safe)
        safe = f"_{safe}" if _DEVICE.match(safe) else safe
    return safe if is_safe else f"{safe}-{sha256(study.encode()).hexdigest()[:8]}"


def remove(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a checkpoint is on the disk, so that after a power cut no renamed file lacks its content."""
    if not path.exists():
        raise CheckpointError(
            f"The function given to trial.save() must write to the path that it receives, but {path} does not exist. "
            "If a library adds a suffix of its own (numpy: .npz), pass it as suffix=."
        )
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def copy_files(source: Path, target: Path, copy: Callable[[str, str], object]) -> None:
    """Copy a study's checkpoint files to where there is no study; what is there was left by one that is gone."""
    shutil.rmtree(target, ignore_errors=True)
    if source.is_dir():

        def one(place: str, to: str) -> None:
            with contextlib.suppress(FileNotFoundError):  # a worker has just saved again
                try:
                    copy(place, to)
                except OSError:  # links are not possible everywhere
                    shutil.copy2(place, to)

        shutil.copytree(source, target, copy_function=one)
