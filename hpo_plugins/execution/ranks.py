"""Several ranks that run one user's script: rank 0 searches, and the others train the trials that it acquires.

Distributed training starts processes in three ways, and each must reach the same study:

* ``spawn`` pickles what it needs and ``fork`` copies it: a trial crosses by itself.
* A launcher runs the user's whole script again with ``LOCAL_RANK`` set. That process finds the address of rank 0 in
  its environment, and trains the trials that rank 0 has acquired, in the same order.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from typing import Any

from hpo_plugins.storage.proxy import Address, connect, serve

_ADDRESS_VARIABLE = "HPO_PLUGINS_RANK_ZERO"


class PublishedTrials:
    """The trials that one loop of this process has acquired, in order, for the ranks that run the same loop."""

    def __init__(self, store: Any) -> None:
        """Create it without trials, for the study in this store."""
        self.store = store
        self.trials: list[Any] = []


class RankZero:
    """What this process publishes to further ranks: the trials of its loops, by study."""

    def __init__(self) -> None:
        """Create it without studies."""
        self._changed = threading.Condition()
        self._studies: weakref.WeakValueDictionary[str, PublishedTrials] = weakref.WeakValueDictionary()

    def open(self, study: str, store: Any) -> PublishedTrials:
        """Publish a study for as long as the caller keeps the returned object."""
        with self._changed:
            published = self._studies[study] = PublishedTrials(store)
            self._changed.notify_all()
            return published

    def publish(self, published: PublishedTrials, trial: Any) -> None:
        """Publish the trial whose training begins now, or None for the end of a loop."""
        with self._changed:
            published.trials.append(trial)
            self._changed.notify_all()

    def store(self, study: str) -> Any:
        """Return the store of a study, once the study is open."""
        with self._changed:
            self._changed.wait_for(lambda: study in self._studies)
            return self._studies[study].store

    def trial(self, study: str, index: int) -> Any:
        """Return the trial at this index, once it was acquired; None if the loop or its tuner has ended."""
        with self._changed:
            published = self._studies.get(study)
            if published is None:
                return None
            self._changed.wait_for(lambda: len(published.trials) > index)
            return published.trials[index]


RANK_ZERO = RankZero()
"""What this process publishes."""


def publish_address() -> None:
    """Let processes that are started from here as further ranks find this one."""
    socket, key, index = serve(RANK_ZERO)
    os.environ[_ADDRESS_VARIABLE] = json.dumps([os.getpid(), socket, key.hex(), index])


def find_rank_zero() -> Any | None:
    """Return a proxy of rank 0's ``RankZero`` if this process is a further rank of the same script, else None."""
    if os.environ.get("LOCAL_RANK", "0") == "0" or _ADDRESS_VARIABLE not in os.environ:
        return None
    pid, socket, key, index = json.loads(os.environ[_ADDRESS_VARIABLE])
    return None if pid == os.getpid() else connect(Address(socket, bytes.fromhex(key), index))
