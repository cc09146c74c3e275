"""Where trials keep their checkpoints: names, atomic writes, and which files may be deleted.

A study's checkpoints live under one root, a folder a trial. The storage holds their paths relative to the root, so a
study that is moved together with its root goes on; a path that leads out of the root is never opened.

A checkpoint is written beside its place, under a name of its own, and renamed when it is whole: a process that is
killed meanwhile leaves the one before. Names carry the attempt: a worker that lost its lease without knowing it
cannot overwrite what its successor has written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from hpo_plugins.errors import CheckpointError, InvalidArgument

Write = Callable[[Path], object]
"""Writes a checkpoint to a path that does not exist yet."""
Keeping = Literal["auto", "keep", "pauses"]
"""Which checkpoints are written and kept; see ``Tuner``."""

SAVE_SHARE = 0.05
"""Checkpoints of running trainings may take this share of the time."""
SAVE_SECONDS = 1.0
"""A running training is saved no more often than this: that much work is not worth a file."""


class Checkpoints:
    """The checkpoints of one study.

    Args:
        root: The folder that holds them all.
        keeping: ``"auto"`` deletes those that nobody can use any more, ``"keep"`` deletes none, and ``"pauses"``
            is ``"auto"`` without the checkpoints of trainings that go on.

    Raises:
        InvalidArgument: ``keeping`` is another word.
    """

    def __init__(self, root: str | os.PathLike[str], keeping: Keeping = "auto") -> None:
        """Touch nothing yet: folders are made when something is saved."""
        if keeping not in get_args(Keeping):
            raise InvalidArgument(f"checkpoints must be 'auto', 'keep' or 'pauses', but got checkpoints={keeping!r}.")
        self.root = Path(root)
        self.keeping: Keeping = keeping

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.root / f"trial-{number:05d}"

    def write(self, number: int, attempt: int, epoch: int, write: Write, suffix: str) -> str:
        """Let ``write`` make a checkpoint, and return its path under the root once it is whole and on the disk.

        Raises:
            OSError: It could not be written; nothing is left of it.
            CheckpointError: ``write`` made no file where it was told to.
        """
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{epoch:06d}.{attempt}{suffix}"
        part, place = folder / f"part-{name}", folder / f"epoch-{name}"
        remove(part)
        try:
            write(part)
            _sync(part)
            remove(place)
            part.replace(place)
        except BaseException:
            remove(part)
            raise
        return place.relative_to(self.root).as_posix()

    def find(self, number: int, relative: str) -> Path:
        """Return where the checkpoint of a trial is.

        Raises:
            CheckpointError: The path leads out of the root, or nothing is there.
        """
        root = self.root.resolve()
        path = (root / relative).resolve()
        again = f"To train trial {number} from its start again: tuner.restart({number})."
        if not path.is_relative_to(root):
            raise CheckpointError(
                f"The checkpoint of trial {number} must lie in the study's folder {root}, but the storage says "
                f"{relative!r}, and nothing outside is opened. {again}"
            )
        if not path.exists():
            raise CheckpointError(
                f"The checkpoint of trial {number} is missing: there is no {path}. If the study was moved, move the "
                f"folder {root} with it; if other machines train too, give all the same checkpoint_dir=. {again}"
            )
        return path

    def discard(self, relative: str) -> None:
        """Delete a checkpoint that its writer may not register."""
        remove(self.root / relative)

    def clear(self, number: int, but: str | None = None) -> None:
        """Delete the checkpoints of a trial except one, and what broken-off writes have left."""
        folder = self.folder(number)
        if self.keeping == "keep" or not folder.is_dir() or folder.is_symlink():
            return
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:  # another process has cleared it just now
            return
        for entry in entries:
            ours = re.match(r"(epoch|part)-\d{6,}\.\d+", entry.name)
            if ours and entry.relative_to(self.root).as_posix() != but:  # files of the user's own stay
                remove(entry)
        if but is None:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


@dataclass
class SaveClock:
    """Tells when a running training is worth a checkpoint: when the last one's cost is small against it.

    A kill then loses at most about ``cost / SAVE_SHARE`` seconds of training, and an epoch.
    """

    last: float = field(default_factory=time.perf_counter)
    cost: float = 0.0

    def due(self) -> bool:
        """Return whether a save is worth its cost now."""
        return time.perf_counter() - self.last >= max(SAVE_SECONDS, self.cost / SAVE_SHARE)

    def saved(self, cost: float) -> None:
        """Note a save and the seconds it took."""
        self.last, self.cost = time.perf_counter(), cost


def folder_name(study: str) -> str:
    """Return a name for a study's folder: readable, safe in a path, and no other study's."""
    safe = re.sub(r"[^\w.-]", "_", study)[:80]
    return safe if safe == study and safe.strip(".") else f"{safe}-{sha256(study.encode()).hexdigest()[:8]}"


def remove(path: Path) -> None:
    """Delete a file or a folder; one that is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a checkpoint is on the disk: a rename that outlives a power cut must not outlive its content."""
    if not path.exists():
        raise CheckpointError(
            f"The function given to trial.save() must write to the path it gets, but {path} does not exist after it. "
            "Where a library adds a suffix of its own (numpy: .npz), give it as suffix=."
        )
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
