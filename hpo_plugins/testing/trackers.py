"""Laws of every tracker: a ``TunerCallback`` that writes each trial to its own place."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from hpo_plugins.objective import Minimize
from hpo_plugins.space import Continuous
from hpo_plugins.tuner import Tuner, TunerCallback


class TrackerContract:
    """The laws of a tracker. ``make`` returns it, and ``numbers`` reads what it has written."""

    def make(self, folder: Path) -> TunerCallback:
        """Return a tracker that writes to a folder."""
        raise NotImplementedError(f"{type(self).__name__} must define make(self, folder), which returns a tracker.")

    def numbers(self, folder: Path) -> Collection[int]:
        """Return the numbers of the trials that are written in a folder, each as often as it is there."""
        raise NotImplementedError(f"{type(self).__name__} must define numbers(self, folder).")

    def search(self, tmp_path: Path, max_trials: int, **arguments: Any) -> Tuner:
        """Run a search of this many trials, and return it; a second call continues it."""
        tuner = Tuner(
            {"rate": Continuous(0.0, 1.0)}, Minimize("loss"), max_trials=max_trials, seed=0, **arguments,
            callbacks=[self.make(tmp_path / "tracked")], storage=tmp_path / "study.db",
        )  # fmt: skip
        for trial in tuner:
            if trial.number == 1:
                trial.fail("out of memory")
                continue
            for epoch in (1, 2, 4):
                trial.report(epoch, {"loss": trial.number / epoch, "other": float("nan") if epoch == 2 else 1.0})
        return tuner

    def test_each_trial_is_written_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Failed trials and metrics that are not finite are written, too, without a warning."""
        self.search(tmp_path, 3)
        assert sorted(self.numbers(tmp_path / "tracked")) == [0, 1, 2]
        assert [r.message for r in caplog.records if "was not told" in r.message] == []

    def test_next_run_writes_the_new_trials_only(self, tmp_path: Path) -> None:
        """A process that continues the study finds the earlier output."""
        self.search(tmp_path, 2)
        self.search(tmp_path, 4)
        assert sorted(self.numbers(tmp_path / "tracked")) == [0, 1, 2, 3]

    def test_replay_replaces_what_was_written(self, tmp_path: Path) -> None:
        """A study that is passed on as a whole is there once."""
        tuner = self.search(tmp_path, 3)
        self.make(tmp_path / "tracked").replay(tuner)
        self.make(tmp_path / "elsewhere").replay(Tuner.load(tmp_path / "study.db"))
        assert sorted(self.numbers(tmp_path / "tracked")) == [0, 1, 2]
        assert sorted(self.numbers(tmp_path / "elsewhere")) == [0, 1, 2]

    def test_destinations_differ(self, tmp_path: Path) -> None:
        """Two trackers that write to different places both receive each trial; two of one place are an error."""
        one, other = self.make(tmp_path / "tracked"), self.make(tmp_path / "elsewhere")
        assert one.destination != other.destination
        assert one.destination == self.make(tmp_path / "tracked").destination
