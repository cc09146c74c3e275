"""Opening a study: create it in its storage, join it, or load it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from hpo_plugins._fields import evolve
from hpo_plugins._validation import non_empty_string, path_like
from hpo_plugins.coordination.process import exit_on_signals
from hpo_plugins.coordination.session import LeaseTerms, StudySession
from hpo_plugins.errors import InvalidArgument, StudyNotFound
from hpo_plugins.space.valid import Function, Valid
from hpo_plugins.storage import Storage, StudyStore, open_storage
from hpo_plugins.storage.checkpoints import CheckpointPolicy, Checkpoints, folder_name
from hpo_plugins.storage.places import is_url
from hpo_plugins.storage.redact import redacted
from hpo_plugins.storage.remote import RemoteCheckpoints, RemoteFiles
from hpo_plugins.study.config import LIMITS, StudyConfig, check_match
from hpo_plugins.study.confirmation import is_confirmation
from hpo_plugins.study.stored import config_from_storage, to_json

Target = str | os.PathLike[str] | Storage


def open_study(
    config: StudyConfig,
    name: str,
    target: Target | None,
    *,
    keeps_seed: bool,
    checkpoint_dir: str | os.PathLike[str] | None,
    policy: CheckpointPolicy,
    terms: LeaseTerms,
    clock: Callable[[], float] = time.perf_counter,
) -> StudySession:
    """Return a session of a study; create the study if it is new.

    A stored study keeps its copies of its parents' trials, and its notes unless others are given. The given limits
    replace its limits.

    Args:
        config: The study's definition.
        name: Its name.
        target: Its storage.
        keeps_seed: Whether a stored study keeps its seed because the user gave none.
        checkpoint_dir: The folder for checkpoints, None for the storage's own.
        policy: Which checkpoints are written and kept.
        terms: How leases are handled.
        clock: Measures the duration of training runs, in seconds.

    Raises:
        StudyMismatch: The stored study was defined differently.
        StorageError: The storage cannot be opened.
    """
    exit_on_signals()  # here, since a thread that asks for the first trial cannot set a handler
    storage = open_storage(target)
    definition = to_json(config)
    private = storage.private_folder if checkpoint_dir is None else None
    root, files = _root(storage, name, checkpoint_dir), _object_files(name, checkpoint_dir)
    if name not in storage.names():
        _checkpoints(root, policy, private, files).clear_all()
    store = storage.open(name, definition)
    if store.definition is not definition:
        stored_config = config_from_storage(store.definition, name, target)
        stored = to_json(stored_config)  # arguments that are newer than the study take their defaults
        config = evolve(
            config,
            seed=stored["seed"] if keeps_seed else config.seed,
            notes=stored["notes"] if config.notes is None else config.notes,
        )
        check_match(stored, given := to_json(config), name)
        if stored["parents"] != given["parents"]:
            config = evolve(config, parents=stored_config.parents)
            given["parents"] = stored["parents"]
        if any(stored.get(part) != given.get(part) for part in (*LIMITS, "notes")):
            store.define(given)
    checkpoints = _checkpoints(root, policy, private, files or _files_of(store, checkpoint_dir))
    return StudySession(config, store, checkpoints, terms, storage=storage, clock=clock)


def load_study(
    target: Target, name: str | None, checkpoint_dir: str | os.PathLike[str] | None, valid: Valid | None = None
) -> tuple[str, StudySession]:
    """Return the name and a session of a stored study.

    Args:
        target: Its storage.
        name: Its name; None if the storage holds only one study.
        checkpoint_dir: The folder for checkpoints, None for the storage's own.
        valid: The function that the study was made with, None if it was not given again.

    Raises:
        InvalidArgument: The study was made without a function.
        StudyNotFound: There is no such study, or ``name`` is None and there are several.
        StorageError: The storage does not exist or cannot be opened.
    """
    storage = existing_storage(target)
    if checkpoint_dir is not None:
        checkpoint_dir = path_like("checkpoint_dir", checkpoint_dir)
    if name is not None:
        non_empty_string("name", name)
    else:
        every = storage.names()
        names = [name for name in every if not is_confirmation(name, every)]
        if len(names) != 1:
            raise StudyNotFound(
                f"name must say which study to load; {redacted(target)} holds {', '.join(map(repr, names)) or 'none'}. "
                "On the command line, write --name NAME."
            )
        (name,) = names
    store = storage.open(name, None)
    files = _object_files(name, checkpoint_dir) or _files_of(store, checkpoint_dir)
    checkpoints = _checkpoints(_root(storage, name, checkpoint_dir), "auto", None, files)
    config = config_from_storage(store.definition, name, target)
    if valid is not None:
        if not isinstance(valid, Function) or not isinstance(config.space.valid, Function):
            stored = config.space.valid
            raise InvalidArgument(
                f"valid must be the function that study {name!r} was made with, but it was made with valid={stored!r}, "
                f"and got valid={valid!r}. Leave it out."
            )
        config = evolve(config, space=config.space.constrained(valid))
    return name, StudySession(config, store, checkpoints, LeaseTerms(), storage=storage)


def existing_storage(target: Target) -> Storage:
    """Return a storage; do not create its file.

    Raises:
        StudyNotFound: There is no such file.
        StorageError: It cannot be opened.
    """
    if isinstance(target, str | os.PathLike) and not is_url(os.fspath(target)):
        path = Path(path_like("storage", target))
        if not path.exists():
            raise StudyNotFound(
                f"No storage at {redacted(path)}: there is no such file. Give the path that the Tuner was given."
            )
    return open_storage(target)


def _root(storage: Storage, name: str, checkpoint_dir: str | os.PathLike[str] | None) -> Path:
    if checkpoint_dir is None:
        return Path(storage.checkpoint_root(name)).absolute()
    if _is_url(checkpoint_dir):  # the folder of this machine's copies
        place = re.sub(r"\W+", "-", redacted(checkpoint_dir))
        return Path("hpo-plugins.checkpoints", place, folder_name(name)).absolute()
    return (Path(checkpoint_dir) / folder_name(name)).absolute()


def _is_url(checkpoint_dir: str | os.PathLike[str] | None) -> bool:
    return isinstance(checkpoint_dir, str) and is_url(checkpoint_dir)


def _object_files(name: str, checkpoint_dir: str | os.PathLike[str] | None) -> RemoteFiles | None:
    """Return where a study's checkpoints are kept if that is a URL, otherwise None."""
    if not _is_url(checkpoint_dir):
        return None
    from hpo_plugins.storage.objects import ObjectFiles

    return ObjectFiles(f"{str(checkpoint_dir).rstrip('/')}/{folder_name(name, is_local=False)}")


def _files_of(store: StudyStore, checkpoint_dir: str | os.PathLike[str] | None) -> RemoteFiles | None:
    """Return where a storage keeps checkpoints for other machines; None if it does not, or if a folder is given."""
    of_store: Callable[[], RemoteFiles] | None = getattr(store, "checkpoint_files", None)
    return None if of_store is None or checkpoint_dir is not None else of_store()


def _checkpoints(root: Path, policy: CheckpointPolicy, private: Path | None, files: RemoteFiles | None) -> Checkpoints:
    return Checkpoints(root, policy, private) if files is None else RemoteCheckpoints(root, policy, files)
