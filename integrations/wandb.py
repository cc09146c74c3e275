"""Show a search in Weights & Biases: ``Tuner(callbacks=[WandbCallback(project="digits")])``.

Each trial that has ended is a run with its configuration and all its curves, in a group that is named like the study.
Runs that your own script has open are not touched. ``mode="offline"`` writes files for ``wandb sync``.
"""

from __future__ import annotations

import os
from typing import Literal

from hpo_plugins.integrations._tracking import final_values, notes, study_title, trial_id

from hpo_plugins.errors import MissingDependency
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.tuner import StudyResults, TunerCallback

try:
    import wandb
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "wandb", "wandb") from error

__all__ = ["WandbCallback"]


class WandbCallback(TunerCallback):
    """Write each trial as a run.

    Args:
        project: The project.
        entity: The user or team that it belongs to; None for the default.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``; None as the environment variable ``WANDB_MODE`` says.
        dir: The folder for the files of Weights & Biases; None for its own default.
    """

    def __init__(
        self,
        project: str,
        *,
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write nothing yet."""
        self.project = project
        self.entity = entity
        self.mode = mode
        self.dir = None if dir is None else os.fspath(dir)

    @property
    def destination(self) -> str:
        """The project."""
        return f"wandb {self.entity}/{self.project} {self.mode}"

    def on_trial_end(self, tuner: StudyResults, trial: TrialRecord) -> None:
        """Write a trial, and replace its earlier run.

        Args:
            tuner: The search.
            trial: The trial.
        """
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            dir=self.dir,
            id=trial_id(tuner, trial),
            name=f"{tuner.name} trial {trial.number}",
            group=study_title(tuner),
            job_type="trial",
            tags=[trial.state.value],
            config=dict(trial.params),
            reinit="create_new",  # beside a run of the user's own
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )
        try:
            for epoch, metrics in trial.metrics.items():
                run.log(metrics, step=epoch)
            run.summary.update(final_values(tuner, trial) | notes(trial))
        finally:
            run.finish(exit_code=int(trial.state is TrialState.FAILED))
