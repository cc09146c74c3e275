"""Ranks that a launcher starts, and trials and tuners that cross a fork or a file."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from multiprocessing import get_context

import pytest
from rank_script import PLAIN

import hpo_plugins as hpo

SPACE = {"x": hpo.Continuous(0, 1)}
LOSS = hpo.Minimize("loss")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def start_ranks(script, *, world=2, **variables):
    """Start the ranks of a script as torchrun does; return what each has printed and its exit code."""
    base = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(os.getpid())}
    base |= {"LOCAL_WORLD_SIZE": str(world), "TORCHELASTIC_RUN_ID": os.urandom(4).hex()} | variables
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=base | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world)
    ]  # fmt: skip
    return [(*process.communicate(timeout=600), process.returncode) for process in processes]


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("storage", [None, "study.db"])
def test_launched_ranks_train_the_trials_of_rank_0(storage, folds, tmp_path):
    place = None if storage is None else str(tmp_path / storage)
    ended = start_ranks(PLAIN.replace("STORAGE", repr(place)).replace("FOLDS", repr(folds)), world=3)
    assert [code for _, _, code in ended] == [0, 0, 0], ended
    first, *others = [json.loads(out) for out, _, _ in ended]
    assert others == [first, first]
    trained, _, n_trials = first
    assert n_trials == 6
    assert {number for number, *_ in trained} == set(range(6))
    assert any(epoch == 9 for *_, epoch in trained)


def test_ranks_on_several_machines_that_share_nothing_all_end_with_one_sentence():
    ended = start_ranks(PLAIN.replace("STORAGE", "None").replace("FOLDS", "False"), LOCAL_WORLD_SIZE="1")
    assert [code for _, _, code in ended] == [1, 1]
    for rank, (_, err, _) in enumerate(ended):
        last = err.strip().splitlines()[-1]
        assert last.startswith(f"hpo_plugins.errors.WorkerError: This is rank {rank} of 2 ranks on several machines,")
        assert "import torch before the Tuner is made" in last


def test_address_left_by_a_killed_job_is_not_used(tmp_path):
    """The same variables again, as with a fixed port: the file of the first job leads nowhere."""
    left = "import os, signal, hpo_plugins as hpo; tuner = hpo.Tuner({'x': hpo.Continuous(0, 1)}, hpo.Minimize('loss'))"
    left += "; os.kill(os.getpid(), signal.SIGKILL)"
    run = os.urandom(4).hex()
    variables = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_PORT": "1"}
    variables |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": run}
    killed = subprocess.run([sys.executable, "-c", left], env=os.environ | variables, check=False)
    assert killed.returncode == -signal.SIGKILL
    script = PLAIN.replace("STORAGE", "None").replace("FOLDS", "False")
    ended = start_ranks(script, MASTER_PORT="1", TORCHELASTIC_RUN_ID=run)
    assert [code for _, _, code in ended] == [0, 0], ended


# Forks.


def search(tuner, path=None):
    """Train what is left of a search; the losses tell the processes apart."""
    for trial in tuner:
        for epoch in (1, 2):
            trial.report(epoch, {"loss": trial["x"] + epoch})
        if path is not None:
            with path.open("a") as file:
                file.write(f"{trial.number}\n")


@needs_fork
def test_forked_tuners_are_workers_of_one_search(storage, tmp_path):
    tuner = hpo.Tuner(SPACE, LOSS, max_trials=12, seed=0, storage=storage)
    trained = tmp_path / "trained"
    context = get_context("fork")
    children = [context.Process(target=search, args=(tuner, trained)) for _ in range(3)]
    for child in children:
        child.start()
    search(tuner, trained)
    for child in children:
        child.join(600)
        assert child.exitcode == 0
    assert sorted(map(int, trained.read_text().split())) == list(range(12))
    assert [t.state for t in tuner.trials] == [hpo.TrialState.COMPLETED] * 12
    assert {t.attempts for t in tuner.trials} == {1}


FORK = """
    import os, sys
    import hpo_plugins as hpo

    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, storage=STORAGE, max_trials=2)
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        child = os.fork()
        if child == 0:
            sys.exit(0)  # leaves the loop, and runs the exit handlers of a normal end
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not trial.report(2, {"loss": 0.5})
    assert [list(t.curve) for t in tuner.trials] == [[1, 2]] * 2, tuner.trials
    assert {t.attempts for t in tuner.trials} == {1}, tuner.trials
    assert {t.state for t in tuner.trials} == {hpo.TrialState.COMPLETED}
"""


@needs_fork
@pytest.mark.parametrize("storage", [None, "study.db"])
def test_fork_within_a_training_holds_nothing(storage, tmp_path):
    """As the workers of a DataLoader do: the child's end must not touch the parent's trial."""
    place = None if storage is None else str(tmp_path / storage)
    script = textwrap.dedent(FORK).replace("STORAGE", repr(place))
    subprocess.run([sys.executable, "-c", script], check=True, timeout=600)


def report_rest(trial):
    for epoch in (2, 3):
        trial.report(epoch, {"loss": 1 / epoch})


@needs_fork
def test_forked_child_may_train_the_trial_for_its_parent(storage):
    tuner = hpo.Tuner(SPACE, LOSS, max_trials=1, seed=0, storage=storage)
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        child = get_context("fork").Process(target=report_rest, args=(trial,))
        child.start()
        child.join(600)
        assert child.exitcode == 0
    (record,) = tuner.trials
    assert list(record.curve) == [1, 2, 3]
    assert record.state is hpo.TrialState.COMPLETED


# Files.


def test_pickled_trial_contains_nothing_of_the_storage(tmp_path):
    tuner = hpo.Tuner(SPACE, LOSS, storage=tmp_path / "secret.db")
    trial = tuner.ask()
    fold = next(tuner.ask().folds(2))
    for handle in (trial, fold):
        dumped = pickle.dumps(handle)
        assert b"secret" not in dumped
        assert b"sqlite" not in dumped
        assert str(tmp_path).encode() not in dumped
    assert pickle.loads(pickle.dumps(trial)).params == trial.params


def test_dumped_trial_loads_where_its_study_is_not(tmp_path):
    script = f"""
        import pickle, hpo_plugins as hpo
        tuner = hpo.Tuner({{"x": hpo.Continuous(0, 1)}}, hpo.Minimize("loss"), storage={str(tmp_path / "a.db")!r})
        print(pickle.dumps(tuner.ask()).hex())
    """
    dumped = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True)
    for file in tmp_path.iterdir():
        file.unlink()
    trial = pickle.loads(bytes.fromhex(dumped.stdout))
    assert (trial.number, list(trial.params)) == (0, ["x"])
    assert trial.objective == LOSS
    with pytest.raises(hpo.StorageError, match="Trial 0 cannot be reported to: the process that trains it has ended"):
        trial.report(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_program_that_a_script_starts_is_no_rank_of_it(tmp_path):
    """It inherits the address of rank 0, and a launcher may have given it a LOCAL_RANK."""
    child = (
        "import hpo_plugins as hpo; print(hpo.Tuner({'x': hpo.Continuous(0, 1)}, hpo.Minimize('loss')).ask().number)"
    )
    launcher = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    script = f"""
        import os, subprocess, sys
        from hpo_plugins.execution.ranks import publish_address

        publish_address()
        os.environ["LOCAL_RANK"] = "1"
        sys.exit(subprocess.run([sys.executable, "-c", {launcher!r}], timeout=600).returncode)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr


def test_search_without_ranks_keeps_one_trial_for_them():
    tuner = hpo.Tuner(SPACE, LOSS, max_trials=50, seed=0, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": trial["x"]})
    assert len(tuner._loop._published.trials) <= 1
