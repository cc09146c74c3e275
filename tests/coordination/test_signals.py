"""SIGTERM and SIGHUP: a process that receives one stops training, and another one continues its trials."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import history_of

import hpo_plugins as hpo

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")

DROPPED = """
import ctypes, gc, signal, sys, weakref, hpo_plugins as hpo

def send(*_):
    signal.raise_signal(signal.SIGTERM)
    for _ in range(100):  # the handler runs between two steps of the interpreter
        pass

class Destroyed:
    def __del__(self):
        send()

class Referred:
    pass

def in_destructor():
    Destroyed()

def in_gc_callback():
    def callback(phase, info):
        gc.callbacks.remove(callback)
        send()
    gc.callbacks.append(callback)
    gc.collect()

def in_weakref_callback():
    thing = Referred()
    reference = weakref.ref(thing, send)
    del thing

def in_ctypes_callback():
    ctypes.CFUNCTYPE(None)(send)()

tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, storage=sys.argv[2] or None, seed=0)
for trial in tuner:
    trial.report(1, {"loss": 1.0})
    if trial.number == 1:
        globals()[sys.argv[1]]()
        if sys.argv[3]:  # a long epoch: nothing is reported
            while True:
                pass
    trial.report(2, {"loss": 1.0})
print("trained on")
"""
PLACES = ["in_destructor", "in_gc_callback", "in_weakref_callback", "in_ctypes_callback", "send"]


def run(script, *arguments, **options):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)


@pytest.mark.parametrize("in_epoch", ["", "long"])
@pytest.mark.parametrize("place", PLACES)
def test_sigterm_that_python_drops_is_raised_again(place, in_epoch, tmp_path):
    ended = run(DROPPED, place, tmp_path / "a.db", in_epoch)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    assert [trial.state.value for trial in tuner.trials] == ["completed", "running"]
    assert history_of(tuner)[1].row.lease_until is None


@pytest.mark.parametrize("place", PLACES)
def test_interrupt_that_python_drops_is_raised_again(place, tmp_path):
    ended = run(DROPPED.replace("SIGTERM", "SIGINT"), place, tmp_path / "a.db", "long")
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.endswith("\nKeyboardInterrupt\n")
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    assert [trial.state.value for trial in tuner.trials] == ["completed", "running"]
    assert history_of(tuner)[1].row.lease_until is None


ASKS = """
import signal, sys, hpo_plugins as hpo
from hpo_plugins.coordination.session import StudySession

class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        for _ in range(100):
            pass

def is_full(session, original=StudySession.is_full):
    if sys.argv[2] != "at the end" and len(session.history) == 2:
        Destroyed()
    return original(session)

StudySession.is_full = is_full
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, storage=sys.argv[1], seed=0)
if sys.argv[2] == "ask":
    while (trial := tuner.ask()) is not None:
        trial.report(1, {"loss": 1.0})
        trial.end()
else:
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
print("searched on")
Destroyed()
"""


@pytest.mark.parametrize(("place", "printed"), [("loop", ""), ("ask", ""), ("at the end", "searched on\n")])
def test_dropped_sigterm_never_looks_like_the_end_of_a_search(place, printed, tmp_path):
    ended = run(ASKS, tmp_path / "a.db", place)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, printed, "")
    assert not hpo.studies(tmp_path / "a.db")["default"].running


def test_sigterm_ends_a_search_in_memory():
    ended = run(DROPPED, "in_destructor", "", "")
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")


REPLACED = """
import atexit, os, signal, sys, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, storage=sys.argv[1], seed=0)
for trial in tuner:
    trial.report(1, {"loss": 1.0})
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass
    except SystemExit:
        atexit.register(print, "exit handlers run")
        raise RuntimeError("the data were closed")  # as a library does that is interrupted between two steps
"""


def test_error_that_a_library_raises_instead_of_the_exit_fails_no_trial(tmp_path):
    ended = run(REPLACED, tmp_path / "a.db")
    assert "the data were closed" in ended.stderr
    assert (ended.returncode, ended.stdout) == (143, "exit handlers run\n")
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    assert [trial.state.value for trial in tuner.trials] == ["running"]
    assert history_of(tuner)[0].row.lease_until is None


THREADS = """
import os, signal, sys, threading, hpo_plugins as hpo
from concurrent.futures import ThreadPoolExecutor

tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=9, storage=sys.argv[1] or None, seed=0)
both = threading.Barrier(3)

def work(_):
    while (trial := tuner.ask()) is not None:
        both.wait()
        for epoch in range(1, 10**9):
            if trial.report(1, {"loss": 1.0}):
                break
        trial.end()

with ThreadPoolExecutor(2) as pool:
    pool.map(work, range(2))
    both.wait()
    signal.raise_signal(getattr(signal, sys.argv[2]))
print("trained on")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_trainings_in_threads_stop_at_their_next_report(storage, name, tmp_path):
    path = tmp_path / "a.db" if storage == "sqlite" else ""
    ended = run(THREADS, path, name)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + getattr(signal, name), "", "")
    if path:
        tuner = hpo.Tuner.load(path)
        assert [trial.state.value for trial in tuner.trials] == ["running"] * 2
        assert [trial.row.lease_until for trial in history_of(tuner)] == [None] * 2
        assert tuner.ask().number == 0


UNJOINED = """
import os, signal, sys, threading, hpo_plugins as hpo

tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=9, storage=sys.argv[1] or None, seed=0)

def work():
    threading.main_thread().join()  # the script is over, and Python waits for this thread
    while (trial := tuner.ask()) is not None:
        trial.report(1, {"loss": 1.0})
        os.kill(os.getpid(), signal.SIGTERM)  # to the process, whose main thread handles it
        while not trial.report(2, {"loss": 1.0}):
            pass
        trial.end()

threading.Thread(target=work).start()
"""


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_threads_that_outlive_the_script_stop_at_their_next_report(storage, tmp_path):
    path = tmp_path / "a.db" if storage == "sqlite" else ""
    ended = run(UNJOINED, path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
    if path:
        (trial,) = history_of(hpo.Tuner.load(path))
        assert (trial.state.value, trial.row.lease_until) == ("running", None)


def test_second_signal_ends_the_process_at_once():
    script = """
import signal, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1, seed=0)
try:
    signal.raise_signal(signal.SIGTERM)
except SystemExit:
    print("told", flush=True)
    signal.raise_signal(signal.SIGTERM)
print("trained on")
"""
    ended = run(script)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "told\n")


WORKERS = """
import os, signal, sys, hpo_plugins as hpo

def train(trial):
    trial.report(1, {"loss": 1.0})
    if sys.argv[2] == "all":
        os.killpg(0, signal.SIGTERM)
    elif sys.argv[2] == "parent":
        os.kill(os.getppid(), signal.SIGTERM)
    elif trial.attempt == 1 and trial.number == 0:  # one worker
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        return
    while True:
        pass

if __name__ == "__main__":
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=4, storage=sys.argv[1], seed=0)
    tuner.run(train, workers=2)
"""


@pytest.mark.parametrize("who", ["all", "parent", "one worker"])
def test_workers_release_their_trials(who, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    command = [sys.executable, script, tmp_path / "a.db", who]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, start_new_session=True)
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    if who == "one worker":
        assert ended.returncode == 0, ended.stderr
        assert [trial.state.value for trial in tuner.trials] == ["completed"] * 4
        assert all(trial.row.failed_attempts == 0 for trial in history_of(tuner))
    else:
        assert ended.returncode == 143, ended.stderr
        assert tuner.trials
        assert all(trial.row.lease_until is None for trial in history_of(tuner) if not trial.state.is_final)


def test_forked_child_dies_of_sigterm_as_its_library_expects(tmp_path):
    script = """
import os, signal, sys, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1, storage=sys.argv[1], seed=0)
trial = tuner.ask()
child = os.fork()
if not child:
    while True:
        pass
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
trial.report(1, {"loss": 1.0})
trial.end()
"""
    ended = run(script, tmp_path / "a.db")
    assert (ended.returncode, ended.stdout.strip()) == (0, str(-signal.SIGTERM)), ended.stderr


def test_nothing_is_left_in_the_temporary_folder(tmp_path):
    script = """
import signal, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1, seed=0)
for trial in tuner:
    trial.report(1, {"loss": 1.0})
    assert trial.save(lambda path: path.write_text("state"))
    signal.raise_signal(signal.SIGTERM)
"""
    ended = run(script, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert ended.returncode == 143, ended.stderr
    assert list(Path(tmp_path).iterdir()) == []
