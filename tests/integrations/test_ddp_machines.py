"""Ranks on two hosts, which share nothing but a network."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import Hosts, why_impossible

pytest.importorskip("torch")
pytestmark = [pytest.mark.full, pytest.mark.process]
SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module")
def hosts():
    if reason := why_impossible():
        pytest.skip(reason)
    with Hosts(2, net=78) as made:
        yield made


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def torchrun(hosts, own, script, *arguments, ranks=1):
    """Start a script on both hosts; ``own`` is a folder in which each sees its own files. Return what each has said."""
    end = f"--rdzv-endpoint={hosts.addresses[0]}:{free_port()}"
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--nproc-per-node={ranks}", end]
    run += ["--rdzv-backend=c10d", f"--rdzv-id={os.urandom(4).hex()}"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
    started = [
        hosts.start(
            index, *run, f"--local-addr={hosts.addresses[index]}", SCRIPTS / script, *arguments,
            own=own if index else None, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate()[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(text[-3000:] for text in said)
    return said


def test_ranks_of_an_own_loop_train_rank_0s_trials_on_two_hosts(hosts, tmp_path):
    """Rank 0's study and checkpoints are on its host only."""
    (own := tmp_path / "own").mkdir()
    torchrun(hosts, own, "own_loop_ddp.py", own / "study.db", tmp_path / "result", ranks=2)
    found = [json.loads(Path(f"{tmp_path}/result.{rank}").read_text()) for rank in range(4)]
    assert [name for name, _, _ in found] == [hosts.names[0]] * 2 + [hosts.names[1]] * 2
    assert all(rest == found[0][1:] for _, *rest in found)
    _, entries, (_, trials) = found[0]
    assert max(attempts for *_, attempts in trials) > 1  # paused, and resumed on both hosts
    assert [len(curve) for _, curve, _ in trials] == [sum(e[0] == number for e in entries) for number, *_ in trials]


def test_lightning_trains_rank_0s_trials_on_two_hosts(hosts, tmp_path):
    pytest.importorskip("lightning")
    (own := tmp_path / "own").mkdir()
    result = tmp_path / "result.json"
    torchrun(hosts, own, "ddp.py", "ddp", own / "study.db", result, "val_loss", "pause")
    trials = json.loads(result.read_text())
    ranks = [[json.loads(line) for line in Path(f"{result}.rank{r}").read_text().splitlines()] for r in (0, 1)]
    assert max(t["attempts"] for t in trials) > 1
    assert [(e["lr"], e["epochs"]) for e in ranks[0]] == [(e["lr"], e["epochs"]) for e in ranks[1]]
    assert all(a["val_loss"] != b["val_loss"] for a, b in zip(*ranks, strict=True) if a["val_loss"])
    assert sum(len(e["val_loss"]) for e in ranks[0]) == sum(len(t["curve"]) for t in trials)
    assert json.loads(Path(f"{result}.follower").read_text()) == [t["params"] for t in trials]


def test_transformers_trains_rank_0s_trials_on_two_hosts(hosts, tmp_path):
    pytest.importorskip("transformers")
    (own := tmp_path / "own").mkdir()
    result = tmp_path / "result"
    said = torchrun(hosts, own, "transformers_ddp.py", own / "study.db", result)
    ranks = [[json.loads(line) for line in Path(f"{result}.{r}").read_text().splitlines()] for r in (0, 1)]
    assert ranks[0] == ranks[1]
    assert len(ranks[0]) == 4
    assert max(epochs for _, epochs in ranks[0]) == 4
    assert not any("RNG" in text for text in said)  # the Trainer's warning that a checkpoint has no random state
