"""Two real processes on the CPU, started in the three ways that Lightning has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightning")
pytestmark = pytest.mark.full  # each process imports Lightning; tests/execution/test_ranks.py has loops of one's own

SCRIPT = Path(__file__).parent / "scripts" / "ddp.py"


@pytest.mark.parametrize(
    ("strategy", "storage"),
    [
        ("ddp", "memory"),
        ("ddp", "sqlite"),
        ("ddp_fork", "memory"),
        ("ddp_fork", "sqlite"),
        ("ddp_spawn", "memory"),
        ("ddp_spawn", "sqlite"),
    ],
)
def test_ranks_share_trials_and_stop_together(strategy, storage, tmp_path):
    result = tmp_path / "result.json"
    place = "memory" if storage == "memory" else tmp_path / "study.db"
    ended = subprocess.run(
        [sys.executable, SCRIPT, strategy, place, result], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    trials = json.loads(result.read_text())
    ranks = [[json.loads(line) for line in Path(f"{result}.rank{r}").read_text().splitlines()] for r in (0, 1)]

    # Rank 1 trained rank 0's trials, no others, and as long.
    assert [t["params"] for t in trials] == [{"lr": entry["lr"]} for entry in ranks[0]]
    assert [(e["lr"], e["epochs"]) for e in ranks[0]] == [(e["lr"], e["epochs"]) for e in ranks[1]]
    assert [len(t["curve"]) for t in trials] == [entry["epochs"] for entry in ranks[0]]
    assert {t["state"] for t in trials} == {"completed", "stopped"}
    assert {t["attempts"] for t in trials} == {1}

    # The value is the mean over the ranks' shards, and all that was logged is there.
    for number, trial in enumerate(trials):
        means = [(a + b) / 2 for a, b in zip(ranks[0][number]["val_loss"], ranks[1][number]["val_loss"], strict=True)]
        assert list(trial["curve"].values()) == pytest.approx(means, rel=1e-6)
        assert ranks[0][number]["val_loss"] != ranks[1][number]["val_loss"]
        assert trial["names"] == ["shard", "train_loss", "val_loss"]

    # A thread of gloo that outlives the interpreter aborts its process, now and then. Forked ranks have no such end.
    if strategy != "ddp_fork" and sys.platform == "linux":
        left = [json.loads(line) for line in Path(f"{result}.threads").read_text().splitlines()]
        assert left == [[]] * (2 if strategy == "ddp" else 2 * len(trials) + 1)

    if strategy == "ddp":  # the script ran twice; the second sees the first's study
        assert json.loads(Path(f"{result}.follower").read_text()) == [t["params"] for t in trials]


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_ranks_of_torchrun_share_trials_and_stop_together(storage, tmp_path):
    """All ranks are started at once, from outside: rank 1 finds rank 0, and trains its trials."""
    result = tmp_path / "result.json"
    place = "memory" if storage == "memory" else tmp_path / "study.db"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*torchrun, SCRIPT, "ddp", place, result], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    trials = json.loads(result.read_text())
    ranks = [[json.loads(line) for line in Path(f"{result}.rank{r}").read_text().splitlines()] for r in (0, 1)]
    assert len(trials) == 2
    assert [(e["lr"], e["epochs"]) for e in ranks[0]] == [(e["lr"], e["epochs"]) for e in ranks[1]]
    assert [len(t["curve"]) for t in trials] == [entry["epochs"] for entry in ranks[0]]
    assert {t["state"] for t in trials} == {"completed", "stopped"}
    assert json.loads(Path(f"{result}.follower").read_text()) == [t["params"] for t in trials]


RANKS = """
import sys, warnings
warnings.simplefilter("ignore")
sys.argv = ["ddp.py", "ddp", {place!r}, {result!r}]
import os
rank, world = os.environ.pop("RANK"), os.environ.pop("WORLD_SIZE")
import hpo_plugins as hpo
from hpo_plugins.integrations.lightning import TrialCallback
import torch, lightning.pytorch as pl
tuner = hpo.Tuner({{"lr": hpo.Continuous(0, 1)}}, hpo.Minimize("val_loss"), storage={place!r})
trial = tuner.ask()  # before the launcher's variables are known, as a script does that asks SLURM for its rank
os.environ |= {{"RANK": rank, "WORLD_SIZE": world}}
from lightning.pytorch.demos.boring_classes import BoringModel
pl.Trainer(
    max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", callbacks=[TrialCallback(trial)], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
).fit(BoringModel())
"""


def test_ranks_with_different_trials_all_end_with_one_sentence(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(RANKS.format(place=str(tmp_path / "a.db"), result=str(tmp_path / "result")))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run([*torchrun, script], capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode != 0
    assert "The ranks of one training must train one trial, but this is rank" in ended.stderr


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_paused_trial_resumes_on_every_rank(strategy, tmp_path):
    result = tmp_path / "result.json"
    ended = subprocess.run(
        [sys.executable, SCRIPT, strategy, tmp_path / "study.db", result, "val_loss", "pause"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    trials = json.loads(result.read_text())
    assert max(t["attempts"] for t in trials) > 1
    assert all(list(t["curve"]) == [str(e + 1) for e in range(len(t["curve"]))] for t in trials)
    ranks = [[json.loads(line) for line in Path(f"{result}.rank{r}").read_text().splitlines()] for r in (0, 1)]
    assert [(e["lr"], e["epochs"]) for e in ranks[0]] == [(e["lr"], e["epochs"]) for e in ranks[1]]
    # Every validation of every rank was of an epoch that no attempt before had trained.
    assert sum(len(e["val_loss"]) for e in ranks[0]) == sum(len(t["curve"]) for t in trials)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_missing_metric_ends_every_rank(strategy, tmp_path):
    """No rank is left waiting for one that raised."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, strategy, "memory", tmp_path / "result.json", "val_los"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "The objective's metric 'val_los' was not reported after the first epoch." in ended.stderr
