"""Train on a Ray cluster: ``tuner.run(train, workers=RayWorkers(num_workers=8, num_gpus=1))``.

Ray places the workers according to the resources that they ask for. The cluster needs no database: an actor on the
driver's node keeps the study in the driver's storage, in memory or in a file, and the workers report to it. It also
keeps their checkpoints, so nodes need no shared folder. A worker that dies with its process or its node is replaced,
and its trial resumes from its last checkpoint.
"""

from __future__ import annotations

import io
import logging
import tarfile
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpo_plugins._validation import real_number, whole_number
from hpo_plugins.coordination.workers import remote_worker_name
from hpo_plugins.errors import InvalidArgument, MissingDependency, StorageError
from hpo_plugins.execution.base import Search, Train
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.checkpoints import CheckpointPolicy, Checkpoints, Write, remove
from hpo_plugins.storage.proxy import ProxyStudyStore

try:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "ray", "ray") from error

__all__ = ["RayWorkers"]

logger = logging.getLogger("hpo_plugins")


class RayWorkers:
    """Workers on the Ray cluster that this process is connected to; without one, Ray is started on this machine.

    Args:
        num_workers: Number of simultaneous training runs.
        num_cpus: CPUs for each, fractions included.
        num_gpus: GPUs for each, fractions included.
        resources: Other resources for each, as Ray names them.

    Raises:
        InvalidArgument: An argument is not a number in its range.
    """

    def __init__(
        self, num_workers: int, *, num_cpus: float = 1, num_gpus: float = 0, resources: dict[str, float] | None = None
    ) -> None:
        """Start no worker yet."""
        for name, value in {"num_cpus": num_cpus, "num_gpus": num_gpus, **(resources or {})}.items():
            real_number(name, value, at_least=0)
        self.num_workers = whole_number("num_workers", num_workers, at_least=1)
        self._options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources}

    def run(self, search: Search, train: Train) -> None:
        """Train until the search is over.

        Raises:
            InvalidArgument: No node of the cluster has what a worker asks for, or ``train`` cannot be sent to it.
            Exception: What ``train`` raised; the other workers have finished their trials.
        """
        if not ray.is_initialized():
            ray.init(logging_level=logging.WARNING)
        self._check_resources()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": here, "max_concurrency": self.num_workers + 4}
        actor = ray.remote(_StudyActor).options(**options).remote(search.store, search.checkpoints)
        try:
            self._supervise(search, _sent(train), actor)
        finally:
            ray.kill(actor)

    def _supervise(self, search: Search, train: Any, actor: Any) -> None:
        """Replace workers that die, and stop all after an error, until the last has ended."""
        task = ray.remote(_work).options(**self._options, max_retries=0)
        running: dict[Any, str] = {}

        def start() -> None:
            name = remote_worker_name()  # chosen here, so that its trial can be found when it dies
            store = _ActorStudyStore(search.store.definition, actor)
            there = search.for_worker(store, _ActorCheckpoints(search.checkpoints.policy, actor), name)
            running[task.remote(there, train, actor)] = name

        for _ in range(self.num_workers):
            start()
        error: BaseException | None = None
        while running:
            for ended in ray.wait(list(running), timeout=0.5)[0]:
                name = running.pop(ended)
                try:
                    ray.get(ended)
                except (WorkerCrashedError, NodeDiedError, OutOfMemoryError) as lost:
                    search.mark_dead(name)
                    if error is None and not search.is_stopping and not search.is_done:
                        logger.warning("a worker was lost and is replaced: %s", str(lost).strip().partition("\n")[0])
                        start()
                except RayTaskError as raised:
                    error = error or _cause(raised)
            search.look()
            if error is not None or search.is_stopping:
                try:
                    with _translate_errors():
                        ray.get(actor.stop.remote())
                except StorageError as ended_actor:
                    error = error or ended_actor
        if error is not None:
            raise error

    def _check_resources(self) -> None:
        """Raise InvalidArgument for resources that no node has, since Ray would wait for ever."""
        asked = {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]}
        asked |= self._options["resources"] or {}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, amount in asked.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if amount > most:
                raise InvalidArgument(
                    f"A worker must fit on a node of the cluster, but it asks for {name}={amount:g} and the largest "
                    f"node has {name}={most:g}. Ask for less, or add a node before the search starts."
                )


def _sent(train: Train) -> Any:
    try:
        return ray.put(train)
    except TypeError as error:
        raise InvalidArgument(
            f"train must be a function that Ray can send to its workers, but got train={train!r}: "
            f"{str(error).strip().partition(chr(10))[0]} Create what cannot be sent inside the function."
        ) from error


def _cause(raised: RayTaskError) -> BaseException:
    cause = getattr(raised, "cause", None)
    return cause if isinstance(cause, BaseException) else raised


class _StudyActor:
    """The actor on the driver's node that works on its storage and files on behalf of the workers."""

    def __init__(self, store: StudyStore, checkpoints: Checkpoints) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._is_stopping = False

    def call(self, method: str, *arguments: Any, **fields: Any) -> Any:
        result = getattr(self._store, method)(*arguments, **fields)
        return result._replace(reports=list(result.reports)) if method == "changes" else result

    def write(self, number: int, attempt: int, epoch: int, content: bytes, suffix: str) -> str:
        return self._checkpoints.write(number, attempt, epoch, lambda part: _unpack(content, part), suffix)

    def read(self, number: int, relative: str) -> bytes:
        return _pack(self._checkpoints.find(number, relative))

    def discard(self, relative: str) -> None:
        self._checkpoints.discard(relative)

    def clear(self, number: int, but: Collection[str | None]) -> None:
        self._checkpoints.clear(number, but)

    def stop(self) -> None:
        self._is_stopping = True

    def is_stopping(self) -> bool:
        return self._is_stopping


# In the workers.


class _ActorStudyStore(ProxyStudyStore):
    """A worker's access to the study."""

    def __init__(self, definition: dict[str, Any], actor: Any) -> None:
        self.definition = definition
        self._actor = actor

    def _call(self, method: str, *arguments: Any, **fields: Any) -> Any:
        with _translate_errors():
            return ray.get(self._actor.call.remote(method, *arguments, **fields))

    def __reduce__(self) -> tuple[Any, ...]:
        return _ActorStudyStore, (self.definition, self._actor)


class _ActorCheckpoints(Checkpoints):
    """The checkpoints that the actor keeps; files here are the worker's own copies."""

    def __init__(self, policy: CheckpointPolicy, actor: Any) -> None:
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        self._actor = actor
        super().__init__("", policy)

    def __reduce__(self) -> tuple[Any, ...]:
        return _ActorCheckpoints, (self.policy, self._actor)

    def folder(self, number: int) -> Path:
        if self._copies is None:  # created in the process that needs it, and deleted with it
            self._copies = tempfile.TemporaryDirectory(prefix="hpo-plugins-")
            self.root = Path(self._copies.name)
        return super().folder(number)

    def write(self, number: int, attempt: int, epoch: int, write: Write, suffix: str) -> str:
        self.folder(number)
        path = self.root / super().write(number, attempt, epoch, write, suffix)
        content = _pack(path)
        remove(path)
        with _translate_errors():
            return str(ray.get(self._actor.write.remote(number, attempt, epoch, content, suffix)))

    def find(self, number: int, relative: str) -> Path:
        copy = self.folder(number) / Path(relative).name
        if not copy.exists():  # names are unique
            with _translate_errors():
                content = ray.get(self._actor.read.remote(number, relative))
            copy.parent.mkdir(parents=True, exist_ok=True)
            _unpack(content, copy)
        return copy

    def discard(self, relative: str) -> None:
        with _translate_errors():
            ray.get(self._actor.discard.remote(relative))

    def clear(self, number: int, but: Collection[str | None] = ()) -> None:
        self.folder(number)
        super().clear(number, but)
        with _translate_errors():
            ray.get(self._actor.clear.remote(number, but))


def _pack(path: Path) -> bytes:
    """Return a checkpoint, a file or a folder, as an archive that can be sent."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(path, arcname="checkpoint")
    return content.getvalue()


def _unpack(content: bytes, path: Path) -> None:
    """Write the checkpoint that ``_pack`` was given to a path."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
        (Path(folder) / "checkpoint").rename(path)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise the actor's exception, or StorageError if the actor has died."""
    try:
        yield
    except RayTaskError as raised:
        raise _cause(raised) from raised
    except RayActorError as error:
        raise StorageError("The driver that keeps this study has ended, and its Ray actor with it.") from error


def _work(search: Search, train: Train, actor: Any) -> None:
    """Train until the search is over or the driver says stop."""
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(1.0) and not search.is_stopping:
            try:
                must_stop = ray.get(actor.is_stopping.remote())
            except RayActorError:  # the driver is gone
                must_stop = True
            if must_stop:
                search.stop()

    threading.Thread(target=listen, daemon=True).start()
    try:
        search.run_worker(train)
    finally:
        ended.set()
