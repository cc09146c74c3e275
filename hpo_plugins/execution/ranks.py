"""Reach objects of this process from the processes it starts: a study in memory, and what rank 0 hands out.

Distributed training starts processes in three ways, and each must end up at the same study:

* ``spawn`` pickles what it needs, ``fork`` copies it; ``TrialReference`` gives both a pickled trial.
* A launcher runs the user's whole script again with ``LOCAL_RANK`` set. That process finds rank 0's address in its
  environment and takes the trials that rank 0 was handed, in the same order.

The standard library's manager does the work: a socket of the file system, readable by the same user and guarded by a
random key, and a thread a client. Nothing is served before something asks for it.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from typing import Any

from hpo_plugins.storage.proxy import Address, reach, serve

LEADER_VARIABLE = "HPO_PLUGINS_LEADER"


class HandOuts:
    """What a tuner of this process was handed, in order, for the ranks that run the same loop."""

    def __init__(self, store: Any) -> None:
        """Start with none, in the study of this store."""
        self.store = store
        self.trials: list[Any] = []


class Leader:
    """The hand-outs of every tuner of this process, study by study, for as long as the tuner lives."""

    def __init__(self) -> None:
        """Start with none."""
        self._changed = threading.Condition()
        self._studies: weakref.WeakValueDictionary[str, HandOuts] = weakref.WeakValueDictionary()

    def open(self, study: str, store: Any) -> HandOuts:
        """Add a study; the caller keeps what is returned alive."""
        with self._changed:
            acquisitions = self._studies[study] = HandOuts(store)
            self._changed.notify_all()
            return acquisitions

    def announce(self, acquisitions: HandOuts, trial: Any) -> None:
        """Add the trial whose body starts now, or None for the end of a loop."""
        with self._changed:
            acquisitions.trials.append(trial)
            self._changed.notify_all()

    def store(self, study: str) -> Any:
        """Return the study's store, waiting until the study was opened."""
        with self._changed:
            self._changed.wait_for(lambda: study in self._studies)
            return self._studies[study].store

    def trial(self, study: str, index: int) -> Any:
        """Return the trial of that place, waiting for it; None where a loop ended or its tuner is gone."""
        with self._changed:
            acquisitions = self._studies.get(study)
            if acquisitions is None:
                return None
            self._changed.wait_for(lambda: len(acquisitions.trials) > index)
            return acquisitions.trials[index]


LEADER = Leader()
"""This process's own."""


def lead() -> None:
    """Let the processes that are started from here as further ranks find this one."""
    socket, key, number = serve(LEADER)
    os.environ[LEADER_VARIABLE] = json.dumps([os.getpid(), socket, key.hex(), number])


def leader() -> Any | None:
    """Return a proxy of rank 0's ``Leader`` where this process is another rank of the same script, else None."""
    if os.environ.get("LOCAL_RANK", "0") == "0" or LEADER_VARIABLE not in os.environ:
        return None
    pid, socket, key, number = json.loads(os.environ[LEADER_VARIABLE])
    return None if pid == os.getpid() else reach(Address(socket, bytes.fromhex(key), number))
