"""Rename a study, with its checkpoints and the studies that confirm it; write one that appears as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo_plugins._validation import non_empty_string
from hpo_plugins.errors import StorageError
from hpo_plugins.storage import ManagedStorage
from hpo_plugins.storage.checkpoints import copy_files
from hpo_plugins.storage.places import link_or_copy
from hpo_plugins.storage.redact import redacted
from hpo_plugins.study.confirmation import confirmations_of


def rename_study(storage: ManagedStorage, name: str, new_name: str) -> None:
    """Rename a study; no worker should train its trials.

    Args:
        storage: Its storage.
        name: Its name.
        new_name: The new name.

    Raises:
        InvalidArgument: The new name is empty.
        StorageError: There is a study of the new name.
    """
    names = storage.names()
    if non_empty_string("name", new_name) in names:
        raise StorageError(f"{redacted(storage)} has a study {new_name!r} already.")
    source, target = Path(storage.checkpoint_root(name)), Path(storage.checkpoint_root(new_name))
    copy_files(source, target, link_or_copy)
    storage.rename(name, new_name)  # before it, the study has the old files; after it, the new ones
    shutil.rmtree(source, ignore_errors=True)
    for other in confirmations_of(name, names):
        rename_study(storage, other, new_name + other.removeprefix(name))


@contextmanager
def appears_whole(storage: ManagedStorage, name: str) -> Iterator[str]:
    """Write a study under another name, which the context is, and rename the study at its end.

    What a process has left there that was killed while it wrote is deleted first.

    Args:
        storage: The storage.
        name: The name of the study once it is complete.

    Raises:
        StorageError: There is a study of that name.
    """
    unfinished = f"{name} (in progress)"
    if unfinished in storage.names():
        storage.delete(unfinished)
    yield unfinished
    rename_study(storage, unfinished, name)
