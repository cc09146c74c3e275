"""tuner.run: one process or several, on every storage, through errors, deaths and interrupts."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import hpo_plugins as hpo

X = {"x": hpo.Continuous(0, 1)}
HEAD = """
import os, signal, sys
from pathlib import Path
import hpo_plugins as hpo

HERE = Path(sys.argv[1])
STORAGE = None if sys.argv[2] == "memory" else sys.argv[2]

def tuner_for(**arguments):
    arguments = {"strategy": hpo.Hyperband(max_resource=9, pause=True), "max_trials": 12, "seed": 0} | arguments
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=STORAGE, **arguments)

def train(trial):
    (HERE / f"worker-{os.getpid()}").touch()
    assert (trial.resume_from is None) == (trial.start_epoch == 0)
    for epoch in range(trial.start_epoch + 1, 10):
        stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
        if trial.save_is_due:
            trial.save(lambda path: path.write_text(str(epoch)))
        if stop:
            break

def states(tuner):
    return sorted({t.state.value for t in tuner.trials})
"""


@pytest.fixture
def run(tmp_path):
    """Run a script as a user would; it gets a folder and a storage."""

    def start(body, storage="memory", guard=True, **arguments):
        main = textwrap.dedent(body)
        definitions, _, main = main.rpartition("# main\n")
        if guard:
            main = 'if __name__ == "__main__":\n' + textwrap.indent(main, "    ")
        script = tmp_path / "script.py"
        script.write_text(HEAD + definitions + main)
        command = [sys.executable, script, tmp_path, storage]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, **arguments
        )

    def ended(*arguments, **options):
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    ended.start = start
    return ended


def test_one_worker_trains_here(storage, train):
    space = {"eta": hpo.Continuous(1e-4, 1, scale="log"), "depth": hpo.Integer(1, 2)}
    strategy = hpo.Hyperband(max_resource=9)
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, max_trials=8, storage=storage, seed=0)
    tuner.run(lambda trial: train(trial, 9))
    assert len(tuner.trials) == 8
    assert tuner.done


def test_error_of_train_marks_the_trial_and_is_raised(storage):
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=3, storage=storage, seed=0)

    def train(trial):
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        tuner.run(train)
    assert [(t.state, t.error) for t in tuner.trials] == [(hpo.TrialState.FAILED, "ValueError: boom")]


def test_listed_errors_are_tried_again_without_ending_the_run():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=3, retry_on=(MemoryError,), seed=0)
    handed = []

    def train(trial):
        handed.append(trial.number)
        if handed.count(1) == 1 and trial.number == 1:
            raise MemoryError
        trial.report(1, {"loss": 1.0})

    tuner.run(train)
    assert handed == [0, 1, 1, 2]
    assert [t.attempts for t in tuner.trials] == [1, 2, 1]


def test_interrupt_gives_the_trial_back():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=3, seed=0)

    def train(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuner.run(train)
    assert tuner.ask().number == 0


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "4", None])
def test_bad_numbers_of_workers_are_named(workers):
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=3)
    with pytest.raises(hpo.InvalidArgument, match="workers must be a whole number of at least 1, but got workers="):
        tuner.run(lambda trial: None, workers=workers)
    assert tuner.trials == ()


def test_unpicklable_train_is_refused_before_workers_start():
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), max_trials=3)
    with pytest.raises(hpo.InvalidArgument, match="train must be a function that other processes can import, .*lambda"):
        tuner.run(lambda trial: None, workers=2)
    with pytest.raises(hpo.InvalidArgument, match="train must be a function of a trial, but got train=3"):
        tuner.run(3)
    assert tuner.trials == ()


@pytest.mark.parametrize("place", ["memory", "study.db"])
def test_workers_share_the_search(place, run, tmp_path):
    code, out, err = run(
        """
        # main
        tuner = tuner_for()
        tuner.run(train, workers=3)
        print(len(tuner.trials), tuner.done, states(tuner))
        print(max(t.epochs for t in tuner.trials), Path(tuner.best_trial.checkpoint).read_text())
        """,
        place,
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == ["12 True ['completed', 'stopped']", "9 9"]
    assert 1 <= len(list(tmp_path.glob("worker-*"))) <= 3
    assert not list(tmp_path.glob("worker-none"))


@pytest.mark.parametrize("place", ["memory", "study.db"])
def test_dead_workers_are_replaced_and_their_trials_resumed(place, run):
    """Every trial's first attempt kills its worker after a checkpoint at epoch 2."""
    code, out, err = run(
        """
        def killed(trial):
            if trial.start_epoch == 0:
                trial.report(1, {"loss": 1.0})
                trial.report(2, {"loss": 1.0})
                trial.save(lambda path: path.write_text("2"))
                os.kill(os.getpid(), signal.SIGKILL)
            assert trial.start_epoch == 2 and Path(trial.resume_from).read_text() == "2"
            train(trial)

        # main
        tuner = tuner_for(strategy=hpo.Random(), max_trials=4)
        tuner.run(killed, workers=2)
        print([(t.state.value, t.attempts, t.epochs) for t in tuner.trials])
        """,
        place,
    )
    assert (code, out) == (0, f"{[('completed', 2, 9)] * 4}\n"), err
    assert err.count("a worker died (code -9) and is replaced") == 4


def test_error_in_a_worker_is_raised_in_the_parent(run):
    code, out, err = run(
        """
        class Broken(ValueError):
            def __init__(self, a, b):  # cannot be unpickled
                super().__init__(a)

        def broken(trial):
            if trial.number == 1:
                raise Broken("boom", 2)
            train(trial)

        def wrong(trial):
            raise KeyError("key")

        # main
        tuner = tuner_for(strategy=hpo.Random(), max_trials=5)
        try:
            tuner.run(broken, workers=2)
        except hpo.WorkerError as error:
            print("A worker raised Broken: boom" in str(error), "in broken" in str(error))
        print([t.state.value for t in tuner.trials][:2])
        try:
            tuner.run(wrong, workers=2)
        except KeyError as error:
            print(error.args, "in wrong" in error.__notes__[0])
        """
    )
    assert code == 0, err
    assert out.splitlines() == ["True True", "['completed', 'failed']", "('key',) True"]


def test_script_without_a_guard_is_told_so(run):
    code, _, err = run("# main\ntuner_for().run(train, workers=2)\n", "study.db", guard=False)
    assert code == 1
    assert err.strip().splitlines()[-1].startswith("hpo_plugins.errors.WorkerError: A worker ended with code 1 before")
    assert 'under `if __name__ == "__main__":`' in err


def test_each_worker_has_its_share_of_the_cores(run):
    code, out, err = run(
        """
        def look(trial):
            trial.report(1, {"loss": float(os.environ["OMP_NUM_THREADS"])})

        # main
        os.environ.pop("OMP_NUM_THREADS", None)
        tuner = tuner_for(strategy=hpo.Random(), max_trials=1)
        tuner.run(look, workers=2)
        share = max(1, len(os.sched_getaffinity(0)) // 2)
        print(tuner.trials[0].value == share, "OMP_NUM_THREADS" in os.environ)
        os.environ["OMP_NUM_THREADS"] = "7"
        tuner = tuner_for(strategy=hpo.Random(), max_trials=1, name="other")
        tuner.run(look, workers=2)
        print(tuner.trials[0].value)
        """
    )
    assert (code, out.split()) == (0, ["True", "False", "7.0"]), err


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(kill, run, tmp_path):
    """They release their trials, and the next run continues these."""
    body = """
        def long(trial):
            if os.environ.get("AGAIN"):
                return train(trial)
            for epoch in range(1, 10**9):
                trial.report(epoch, {"loss": 1.0})
                if epoch == 3:
                    trial.save(lambda path: path.write_text("3"))
                    print(trial.number, flush=True)

        # main
        tuner = tuner_for(strategy=hpo.Random(), max_trials=2)
        tuner.run(long, workers=2)
        print([(t.state.value, t.attempts) for t in tuner.trials])
        """
    process = run.start(body, "study.db")
    started = {process.stdout.readline().strip() for _ in range(2)}
    assert started == {"0", "1"}
    process.send_signal(kill)
    process.communicate(timeout=600)  # the workers hold its output: all of them have ended
    assert process.returncode == -kill or kill == signal.SIGINT
    code, out, err = run(body, "study.db", env=os.environ | {"AGAIN": "1"})
    assert (code, out) == (0, f"{[('completed', 2)] * 2}\n"), err


def test_stop_ends_the_workers_after_their_trials(run):
    code, out, err = run(
        """
        import threading

        # main
        tuner = tuner_for(strategy=hpo.Random(), max_trials=10**6)

        def stop_after_three_trials():
            while sum(t.state.is_final for t in tuner.trials) < 3:
                threading.Event().wait(0.05)
            tuner.stop()

        threading.Thread(target=stop_after_three_trials, daemon=True).start()
        tuner.run(train, workers=2)
        print(states(tuner), len(tuner.trials) > 2)
        """,
        "study.db",
    )
    assert (code, out) == (0, "['completed'] True\n"), err


def test_worker_whose_trial_hangs_is_replaced_and_the_trial_fails(run):
    code, out, err = run(
        """
        import threading
        from hpo_plugins.coordination import silence

        def hangs(trial):
            if trial.number < 2:
                trial.report(1, {"loss": 0.0})
                threading.Event().wait()
            trial.report(1, {"loss": trial["x"]})

        # main
        silence.GRACE_SECONDS = 0.0
        tuner = tuner_for(strategy=hpo.Random(), max_trials=6, max_trial_seconds=1.5)
        tuner.run(hangs, workers=2)
        print([t.state.value for t in tuner.trials], tuner.trials[1].error)
        """,
        "study.db",
    )
    assert code == 0, err
    states = [*["failed"] * 2, *["completed"] * 4]
    assert out.startswith(f"{states} max_trial_seconds: no report for ")
    assert "a worker died (code -9) and is replaced" in err


@pytest.mark.parametrize("given", ["4,6", "MIG-a,MIG-b"])
def test_each_worker_sees_its_own_device(run, given):
    code, out, err = run(
        """
        def look(trial):
            seen = os.environ["CUDA_VISIBLE_DEVICES"]
            assert trial.devices == (seen,), (trial.devices, seen)
            marker = HERE / f"{os.getpid()}-{seen}"
            marker.touch()
            if trial.number == 5 and not (HERE / "killed").exists():  # another worker takes this one's place
                (HERE / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            trial.report(1, {"loss": 0.0})
            while trial.number < 2 and len(list(HERE.glob("[0-9]*-*"))) < 2:  # both workers train
                pass

        # main
        tuner = tuner_for(strategy=hpo.Random(), max_trials=12)
        tuner.run(look, workers=2)
        print(states(tuner), sorted({path.name.partition("-")[2] for path in HERE.glob("[0-9]*-*")}))
        print(os.environ["CUDA_VISIBLE_DEVICES"], "HPO_PLUGINS_DEVICES" in os.environ)
        """,
        "study.db",
        env=os.environ | {"CUDA_VISIBLE_DEVICES": given},
    )
    assert code == 0, err
    assert out.splitlines() == [f"['completed'] {given.split(',')}", f"{given} False"]
