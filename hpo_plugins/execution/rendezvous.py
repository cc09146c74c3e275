"""How the ranks of a job on several machines learn where rank 0 listens.

They meet in what they share already: the storage, if it is a server, or else the store at ``MASTER_ADDR`` and
``MASTER_PORT`` by which torch's own process groups begin. A place contains the key that rank 0 asks for, so whoever can
read it there can follow rank 0, and nobody else.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import urlsplit

import msgspec

from hpo_plugins.errors import StudyNotFound, WorkerError
from hpo_plugins.execution.rank_link import Place
from hpo_plugins.storage import StudyStore, open_storage

JOB_VARIABLES = (
    "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID",
    "SLURM_STEP_ID",
)  # fmt: skip
"""Environment variables that all ranks of one job share and that differ between jobs."""
_POLL_SECONDS = 0.25
_STORE_SECONDS = 60.0
"""Seconds within which torch's store must answer."""


def job_digest() -> str:
    """Return a name of this job, the same on all its ranks."""
    job = json.dumps([os.environ.get(name) for name in JOB_VARIABLES])
    return hashlib.sha256(job.encode()).hexdigest()[:24]


class Rendezvous(ABC):
    """What the ranks of a job on several machines share."""

    @abstractmethod
    def hosts(self) -> list[str]:
        """Return the names and addresses by which other machines may reach this one, rank 0's."""

    @abstractmethod
    def put(self, place: Place, store: StudyStore) -> None:
        """Leave rank 0's place for the other ranks.

        Args:
            place: The place.
            store: The study of the tuner that is made on every rank.
        """

    @abstractmethod
    def look(self) -> Place | None:
        """Return rank 0's place, None if it is not there yet; may wait for up to a second."""


class StorageRendezvous(Rendezvous):
    """The ranks meet in their study, which every machine reaches: the place is a claim in the job's name.

    Args:
        url: The storage.
        name: The study.
    """

    def __init__(self, url: str, name: str) -> None:
        """Open nothing yet."""
        self._url, self._name = url, name
        self._store: StudyStore | None = None
        self._key = f"rank 0 of {job_digest()}"

    def hosts(self) -> list[str]:
        """Return ``MASTER_ADDR``, the address that the storage's machine sees, and this machine's name."""
        master = os.environ.get("MASTER_ADDR", "")
        known = [master, _own_address_towards(urlsplit(self._url).hostname or ""), socket.gethostname()]
        return list(dict.fromkeys(filter(None, known)))

    def put(self, place: Place, store: StudyStore) -> None:
        """Write the claim; it is removed when the process ends."""
        text = json.dumps([place.hosts, place.port, place.key.hex()])
        store.claim(self._key, text, store.claim(self._key, "", ""))  # an earlier job of that name has ended
        atexit.register(_withdraw, store, self._key, text, os.getpid())

    def look(self) -> Place | None:
        """Read the claim."""
        try:
            if self._store is None:
                self._store = open_storage(self._url).open(self._name, None)
            found = self._store.claim(self._key, "", "")
        except StudyNotFound:  # rank 0 makes it
            found = ""
        if not found:
            time.sleep(_POLL_SECONDS)
            return None
        hosts, port, key = json.loads(found)
        return Place(hosts, port, bytes.fromhex(key))


def _withdraw(store: StudyStore, key: str, text: str, pid: int) -> None:
    if pid == os.getpid():
        with contextlib.suppress(Exception):  # the server is away; the next job of that name replaces the claim
            store.claim(key, "", text)


class TorchRendezvous(Rendezvous):
    """The ranks meet in torch's store at ``MASTER_ADDR`` and ``MASTER_PORT``, on rank 0's machine.

    torchrun keeps this store in its agent. Other launchers leave it to rank 0, which serves it to its process groups,
    too, when they are initialized.

    Args:
        distributed: The module ``torch.distributed``.
    """

    def __init__(self, distributed: Any) -> None:
        """Connect to nothing yet."""
        self._distributed = distributed
        self._store: Any = None
        self._key = f"hpo_plugins/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"

    def hosts(self) -> list[str]:
        """Return ``MASTER_ADDR``: torch itself needs rank 0 there."""
        return [os.environ["MASTER_ADDR"]]

    def put(self, place: Place, store: StudyStore) -> None:  # noqa: ARG002
        """Write the place to the store."""
        is_agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        self._open(_STORE_SECONDS, serves=not is_agents)
        self._store.set(self._key, msgspec.msgpack.encode(place))

    def look(self) -> Place | None:
        """Wait for the place."""
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            if self._store is None:
                socket.create_connection(place, 1.0).close()  # torch prints pages about a store that is not there yet
            self._open(_STORE_SECONDS, serves=False)
            self._store.wait([self._key], dt.timedelta(seconds=1))
            return msgspec.msgpack.decode(self._store.get(self._key), type=Place)
        except (OSError, RuntimeError):  # nobody serves the store yet, or it has no place
            time.sleep(_POLL_SECONDS)
            return None

    def _open(self, seconds: float, *, serves: bool) -> None:
        if self._store is None:
            self._store = self._distributed.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=serves,
                timeout=dt.timedelta(seconds=seconds),
                wait_for_workers=False,
                multi_tenant=serves,  # init_process_group in this process uses the same one
            )


def rendezvous_for(storage: object, name: str) -> Rendezvous:
    """Return where the ranks of this job meet.

    Args:
        storage: The storage, as the user has given it.
        name: The study.

    Raises:
        WorkerError: They share nothing that is known here.
    """
    if isinstance(storage, str) and "://" in storage and not storage.startswith("sqlite"):
        return StorageRendezvous(storage, name)
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if (
        distributed is not None
        and hasattr(distributed, "TCPStore")
        and {"MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)
    ):
        return TorchRendezvous(distributed)
    raise WorkerError(
        f"This is rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} ranks on several machines, which train rank "
        "0's trials together. They find rank 0 by torch's store: import torch before the Tuner is made, and let the "
        "launcher set MASTER_ADDR and MASTER_PORT, as torchrun does. Without torch, give the Tuner "
        "storage='http://...' (hpo-plugins serve). If each rank is to search by itself, unset RANK and WORLD_SIZE."
    )


def own_address() -> str:
    """Return the address of this machine that ``MASTER_ADDR`` names, "" if that says nothing about where to listen."""
    try:
        address = str(socket.getaddrinfo(os.environ["MASTER_ADDR"], None, type=socket.SOCK_STREAM)[0][4][0])
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:  # many machines call themselves 127.0.1.1
            return ""
        with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            return address
    except (KeyError, OSError, ValueError):
        return ""


def _own_address_towards(host: str) -> str:
    """Return the address of this machine from which packets to another one leave, "" if it is of no use there."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # sends nothing
            address = str(probe.getsockname()[0])
        return "" if ipaddress.ip_address(address.partition("%")[0]).is_loopback else address
    except (OSError, ValueError):
        return ""
