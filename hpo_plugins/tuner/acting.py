"""What a person does to a study while it runs: stop, fail and restart trials, notes and tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hpo_plugins._validation import boolean, whole_number
from hpo_plugins.coordination import acting
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.execution.base import Loop
from hpo_plugins.page import page_server
from hpo_plugins.page.notebook import Dashboard
from hpo_plugins.records import ActionRow, Annotation


class StudyActions:
    """Actions on a study, from any process that has made or loaded its tuner; ``actions`` lists them."""

    name: str
    _loop: Loop
    _dashboard: Dashboard | None = None

    def dashboard(
        self, *, allow_actions: bool = False, address: str | None = None, port: int = 0, height: int = 900
    ) -> Dashboard:
        """Serve a page of the study from this process, always up to date; a notebook shows it in a frame.

        Args:
            allow_actions: Whether the page may stop trials and change the study.
            address: Where your browser reaches the page, if the notebook runs on another machine: ``{port}`` stands for
                the port. With jupyter-server-proxy it is ``"/proxy/{port}/"`` after the path of your server, as in
                ``"/user/me/proxy/{port}/"``. None if the browser is on this machine.
            port: The port, 0 for any free one.
            height: The height of the frame, in pixels.

        Returns:
            The page: its ``url``, and ``close()``. A second call closes the first page.

        Raises:
            InvalidArgument: The port is not free, or this process has no access to the storage, such as a worker.
            ModuleNotFoundError: The packages of the extra ``dashboard`` are not installed.
        """
        storage = self._loop.session.storage
        if storage is None:
            raise InvalidArgument("dashboard() must be called in the process that has made or loaded the tuner.")
        boolean("allow_actions", allow_actions)
        height = whole_number("height", height, at_least=100)
        if self._dashboard is not None:
            self._dashboard.close()
        server = page_server(storage, port=port, allow_actions=allow_actions, study=self.name, in_frame=True)
        self._dashboard = Dashboard(server, address, height)
        return self._dashboard

    def stop_trial(self, number: int, note: str = "") -> None:
        """Stop a trial: it ends at its next report, as if its strategy had stopped it, and keeps its result.

        It may be trained by this process or by another one. A paused trial, or one without a worker, ends at once.

        Args:
            number: A trial that has not ended.
            note: Why; ``TrialRecord.stop_reason`` contains it.

        Raises:
            InvalidArgument: There is no such trial, or it has ended.
            StorageError: The storage cannot be reached.
        """
        acting.stop_trial(self._loop.session, number, note)

    def fail_trial(self, number: int, reason: str = "") -> None:
        """End a trial as FAILED at once, such as one that hangs. The strategy learns that its configuration is bad.

        If a worker still trains it, its next report is refused, and it continues with another trial.

        Args:
            number: A trial that has not ended.
            reason: Why.

        Raises:
            InvalidArgument: There is no such trial, or it has ended.
            StorageError: The storage cannot be reached.
        """
        acting.fail_trial(self._loop.session, number, reason)

    def restart(self, number: int) -> None:
        """Reset a trial to its first epoch, such as after its checkpoint was lost; the next free worker trains it.

        A FAILED trial is retried under its number. What trackers were told of its failure stays there.

        Args:
            number: A trial that is paused, running or FAILED.

        Raises:
            InvalidArgument: There is no such trial, or it has ended with a result.
            StorageError: The storage cannot be reached.
        """
        acting.restart_trial(self._loop.session, number)

    def annotate(self, trial: int | None = None, *, note: str | None = None, tags: Iterable[str] | None = None) -> None:
        """Write a note or tags; they replace those before.

        Args:
            trial: The trial; None for the study.
            note: The note; ``""`` deletes it, None leaves it.
            tags: The tags; ``[]`` deletes them, None leaves them.

        Raises:
            InvalidArgument: There is no such trial, or a note or a tag is too long.
            StorageError: The storage cannot be reached.
        """
        acting.annotate(self._loop.session, trial, note=note, tags=tags)

    @property
    def annotations(self) -> Mapping[int | None, Annotation]:
        """The notes and tags of trials by number, and those of the study under None."""
        return MappingProxyType(acting.annotations_of(self.actions))

    @property
    def actions(self) -> tuple[ActionRow, ...]:
        """The log: what people did to the study, in order, with the time and the trial."""
        return tuple(self._loop.session.store.actions())
