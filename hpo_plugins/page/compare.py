"""Several studies in one picture: the best value so far against trained epochs or time."""

from __future__ import annotations

from typing import Any, NamedTuple

from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialRecord
from hpo_plugins.view import StudyView


class Progress(NamedTuple):
    """The best value of a study so far, at each improvement and at the end.

    Attributes:
        epochs: The epochs trained until then, over all trials.
        seconds: The seconds since the first trial was started.
        best: The best value.
    """

    epochs: list[int]
    seconds: list[float]
    best: list[float]

    @classmethod
    def of(cls, view: StudyView) -> Progress:
        """Return the progress of a study.

        An epoch's time is its trial's start plus its seconds of training: waits between attempts are left out. If only
        the last epoch counts (``at="last"``), the value comes with the trial's last epoch.
        """
        began = min((trial.started_at for trial in view.trials), default=0.0)
        reports = sorted(report for trial in view.trials for report in _reports(trial, view.objective, began))
        progress, best = cls([], [], []), float("inf")
        for trained, (seconds, loss) in enumerate(reports, 1):
            if loss < best:
                best = loss
                progress._add(trained, seconds, view.objective.loss(loss))
        if progress.best:
            progress._add(len(reports), reports[-1][0], progress.best[-1])
        return progress

    def _add(self, epochs: int, seconds: float, best: float) -> None:
        self.epochs.append(epochs)
        self.seconds.append(seconds)
        self.best.append(best)


def comparison(views: list[StudyView]) -> dict[str, Any]:
    """Return what the page shows of several studies: their progress, and what cannot be compared."""
    metrics = list(dict.fromkeys(f"{type(view.objective).__name__}({view.objective.metric!r})" for view in views))
    note = "" if len(metrics) < 2 else f"These studies have different objectives: {', '.join(metrics)}."
    return {
        "metric": views[0].objective.metric if len(metrics) == 1 else "value",
        "note": note,
        "studies": [{"name": view.name} | Progress.of(view)._asdict() for view in views],
    }


def _reports(trial: TrialRecord, objective: Objective, began: float) -> list[tuple[float, float]]:
    """Return the seconds and the loss of each epoch; the loss is infinite if it does not count."""
    start, infinite = trial.started_at - began, float("inf")
    counts = trial.value is not None
    last = max(trial.curve, default=0)
    return [
        (
            start + seconds,
            objective.loss(trial.curve[epoch])
            if counts and epoch in trial.curve and (objective.at == "best" or epoch == last)
            else infinite,
        )
        for epoch, seconds in trial.seconds.items()
    ]
