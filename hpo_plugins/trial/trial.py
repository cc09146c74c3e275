"""The trial that a tuner yields, and its folds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hpo_plugins._validation import whole_number
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.visiting import Ticket
from hpo_plugins.objective import Objective
from hpo_plugins.records import MAX_FOLDS
from hpo_plugins.space import Params
from hpo_plugins.study.stored import from_json, to_json
from hpo_plugins.trial.handle import TrainingHandle
from hpo_plugins.trial.plugin import TrainedTrial


class Trial(TrainingHandle):
    """One configuration to train, yielded by a tuner.

    It can be pickled, and used after a fork. In another process of the same machine it reports to the same study, while
    the process that trains it lives. The pickle contains nothing of the storage.

    Args:
        lease: The attempt that this process trains; tuners acquire it.
        on_end: Called after ``end`` and ``fail``.
    """

    def __init__(self, lease: TrainedTrial, on_end: Callable[[], None] = lambda: None) -> None:
        """Bind the trial to its lease."""
        self._on_end = on_end
        self._bind(lease.number, lease.params, lease.definition, lease.objective)
        self.seed = seed_of(lease.session.config.seed, lease.number)
        self._held: TrainedTrial | None = lease
        self._holder = os.getpid()
        self._ticket: Callable[[], Ticket] = lambda: lease.ticket

    def _bind(self, number: int, params: Params, definition: str | None, objective: Objective) -> None:
        self.number = number
        self.params = params
        self.definition = definition
        self.objective = objective
        self.trial_number = number

    @property
    def _lease(self) -> TrainedTrial:  # type: ignore[override]  # a visitor's lease in another process
        if self._held is None or self._holder != os.getpid():
            self._held, self._holder = self._ticket().redeem(self.number), os.getpid()
        return self._held

    @property
    def _training(self) -> Training:
        return self._lease.training

    def __repr__(self) -> str:
        """Return number and configuration."""
        return f"Trial(number={self.number}, params={self.params!r})"

    def folds(self, n: int) -> Iterator[Fold]:
        """Yield one handle for each fold of a cross-validation; train each in the body of the loop.

            for fold, (train, valid) in zip(trial.folds(5), KFold(5).split(x)):
                model.fit(x[train], y[train], validation_data=(x[valid], y[valid]), callbacks=[TrialCallback(fold)])

        The trial's curve and value are means over its folds. In its first fold it is judged like a trial without folds.
        After some of the other folds it is judged by the mean up to that fold, always against the same folds of other
        trials. A trial that is stopped yields no further fold.

        When a trial is resumed or retried, all folds are yielded again, so that they stay aligned with the data's.
        ``is_done`` is true for completed folds, and a ``fit`` with their callback trains nothing.

        Args:
            n: Number of folds; the same in all trials of a study.

        Raises:
            InvalidArgument: ``n`` is not a whole number from 2 on, or another one than before in this study.
        """
        n = whole_number("n", n, at_least=2, at_most=MAX_FOLDS)
        self._lease.folds.declare(n)
        return self._each_fold(n)

    def _each_fold(self, n: int) -> Iterator[Fold]:
        for index in range(n):
            if self._training.must_stop:
                return
            yield Fold(self, index)
            self._lease.folds.end(index)

    def record(self, metrics: Mapping[str, Any]) -> bool:
        """Record metrics of the trial as a whole, such as the size of its model, and return whether to stop it now.

            if trial.record({"model_mb": size_of(model)}):  # does it meet the limits?
                continue

        Call it at any time before the end of the trial. Its result is True if a metric does not meet a limit
        (``Tuner(constraints=)``), or if the trial is to stop for another reason. A metric that is recorded again takes
        the new value.

        Args:
            metrics: Name to number.

        Raises:
            InvalidReport: A value is not a single number.
        """
        return self._training.record(metrics)

    def end(self) -> None:
        """Declare that the training run is over; its reports decide whether the trial completed, stopped or paused."""
        try:
            self._lease.end()
        except (KeyboardInterrupt, SystemExit):
            self._lease.release_quietly()
            raise
        self._on_end()

    def fail(self, error: BaseException | str) -> None:
        """Declare that the training run ended with an error; the search continues.

        The trial is FAILED, or retried if the error is one of the tuner's ``retry_on``.

        Args:
            error: The exception, or a reason in words.
        """
        self._lease.fail(error)
        self._on_end()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as plain values; the other process opens the study when it first needs it."""
        ticket = self._ticket()
        objective = to_json(self.objective)  # plain: a checkpoint that contains a trial must load without running code
        place = (ticket.address, ticket.token)
        return visit_trial, (self.number, self.params, self.definition, objective, *place, self.seed)


def seed_of(study: int, number: int) -> int:
    """Return the seed of a trial, from 0 to below 2**31.

    Args:
        study: The seed of the study.
        number: The trial.
    """
    return int.from_bytes(hashlib.sha256(f"trial {study} {number}".encode()).digest()[:4], "big") >> 1


def visit_trial(
    number: int,
    params: Params,
    definition: str | None,
    objective: dict[str, Any],
    address: tuple[Any, str, int],
    token: str,
    seed: int,
) -> Trial:
    """Return a trial of another process; the first use connects to that process."""
    trial = Trial.__new__(Trial)
    trial._on_end = lambda: None
    trial._bind(number, params, definition, from_json(objective, Objective))
    trial.seed = seed
    trial._held, trial._holder, trial._ticket = None, os.getpid(), lambda: Ticket(address, token)
    return trial


class Fold(TrainingHandle):
    """One fold of a trial: ``Trial.folds`` yields it, and a callback or a loop reports to it.

    It can be pickled, as a trial can, so that several processes may train the folds at once.

    Args:
        trial: The trial.
        index: The fold, from 0.

    Attributes:
        trial: The trial.
    """

    def __init__(self, trial: Trial, index: int) -> None:
        """Bind the fold to its trial."""
        self.trial = trial
        self.number = index
        self.params = trial.params
        self.definition = trial.definition
        self.objective = trial.objective
        self.trial_number = trial.number
        self.seed = trial.seed

    @property
    def _lease(self) -> TrainedTrial:  # type: ignore[override]  # the trial's
        return self.trial._lease

    @property
    def _training(self) -> Training:
        return self._lease.folds.training(self.number)

    @property
    def is_done(self) -> bool:
        """Whether the fold was completed before the trial was interrupted, so that nothing is left to train."""
        return self._training.is_done

    def __repr__(self) -> str:
        """Return trial and number."""
        return f"Fold(trial={self.trial.number}, number={self.number})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle together with the trial."""
        return Fold, (self.trial, self.number)
