"""Several processes on one study: exact budgets, shared work, dead workers."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support import expire_lease, history_of, session_of

import hpo_plugins as hpo
from hpo_plugins.coordination import workers
from hpo_plugins.coordination.acquisition import Acquisition
from hpo_plugins.coordination.heartbeat import Heartbeat
from hpo_plugins.coordination.session import LeaseTerms, StudySession
from hpo_plugins.storage import open_storage
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.stored import to_json

X = {"x": hpo.Continuous(0, 1)}
WORKER = """
import json, sys
import hpo_plugins as hpo
tuner = hpo.Tuner(
    {"x": hpo.Continuous(0, 1), "c": hpo.Categorical([1, 2])}, hpo.Minimize("loss"),
    strategy=hpo.Hyperband(max_resource=9, search="random"), max_trials=30, storage=sys.argv[1], seed=0,
)
sys.stdin.readline()  # all start at once
for trial in tuner:
    for epoch in range(1, 10):
        loss = trial["x"] + 1 / epoch
        stop = trial.report(epoch, {"loss": loss})
        print(json.dumps([trial.number, epoch, loss]), flush=True)
        if stop:
            break
"""


@pytest.fixture
def worker(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, script, tmp_path / "study.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def acknowledged(text):
    """The reports that a worker had an answer to; a kill may cut the last line."""
    return [json.loads(line) for line in text.splitlines() if line.endswith("]")]


def test_two_processes_share_exactly_the_budget(worker, tmp_path):
    processes = [worker(), worker()]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    tuner = hpo.Tuner.load(tmp_path / "study.db")
    assert [t.number for t in tuner.trials] == list(range(30))
    assert {t.attempts for t in tuner.trials} == {1}
    numbers = [{number for number, _, _ in acknowledged(text)} for text in outputs]
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] == set(range(30))
    recorded = {(t.number, e, v) for t in tuner.trials for e, v in t.curve.items()}
    assert recorded == {tuple(report) for text in outputs for report in acknowledged(text)}
    alone = hpo.Tuner(dict(tuner.space), tuner.objective, strategy=tuner.strategy, max_trials=30, seed=0)
    assert [t.params for t in tuner.trials] == [alone.ask().params for _ in range(30)]


def test_killed_worker_loses_no_report_and_no_trial(worker, tmp_path):
    victim, survivor = worker(), worker()
    victim.stdin.write("\n")
    victim.stdin.flush()
    lines = [victim.stdout.readline() for _ in range(15)]
    victim.send_signal(signal.SIGKILL)
    rest, _ = victim.communicate()
    survivor.stdin.write("\n")
    survivor.stdin.flush()
    output, _ = survivor.communicate()
    tuner = hpo.Tuner.load(tmp_path / "study.db")
    assert [t.number for t in tuner.trials] == list(range(30))
    assert all(t.state.is_final and t.state is not hpo.TrialState.FAILED for t in tuner.trials)
    recorded = {(t.number, e, v) for t in tuner.trials for e, v in t.curve.items()}
    assert recorded >= {tuple(r) for r in acknowledged("".join(lines) + rest)}
    assert recorded >= {tuple(r) for r in acknowledged(output)}
    assert all(list(t.curve) == list(range(1, t.epochs + 1)) for t in tuner.trials)


@pytest.fixture
def make_coordinator(tmp_path):
    """Coordinators on one study, as processes on other machines would have them."""
    numbers = itertools.count()
    study = StudyConfig(hpo.space.Space({"x": hpo.Continuous(0, 1)}), hpo.Minimize("loss"), hpo.Random(), None, 0, 2)

    def make(lease_seconds=1e-9):
        store = open_storage(tmp_path / "a.db").open("a", to_json(study))
        terms, worker = LeaseTerms(retries=1, seconds=lease_seconds), f"elsewhere/1/{next(numbers)}"
        session = StudySession(study, store, Checkpoints(tmp_path), terms, worker=worker)
        session._heartbeat.start = lambda: None  # this worker hangs: it renews nothing
        return Acquisition(session)

    return make


def ask(coordinator):
    lease = coordinator.acquire()
    return None if lease is None else hpo.Trial(lease)


def test_expired_lease_goes_to_another_and_the_first_learns_it(make_coordinator, caplog):
    first, second = make_coordinator(), make_coordinator(lease_seconds=60)
    lost = ask(first)
    assert not lost.report(1, {"loss": 1.0})
    taken = ask(second)
    assert (taken.number, taken.params) == (lost.number, lost.params)
    assert lost.report(2, {"loss": 2.0})  # told to stop
    assert "taken over by another worker" in caplog.text
    lost.end()
    taken.report(1, {"loss": 3.0})
    taken.end()
    record = second.session.refresh().record(0)
    assert (record.state, record.curve, record.attempts) == (hpo.TrialState.COMPLETED, {1: 3.0}, 2)


def test_trial_whose_workers_die_fails(make_coordinator):
    for _ in range(2):
        assert ask(make_coordinator()).number == 0
    last = make_coordinator()
    assert ask(last).number == 1
    record = last.session.refresh().record(0)
    assert record.state is hpo.TrialState.FAILED
    assert record.error == "its worker died 2 times without a new checkpoint, and retries=1"


def test_decision_of_a_dead_worker_stands(make_coordinator):
    first, second = make_coordinator(), make_coordinator(lease_seconds=60)
    trial = ask(first)
    trial.report(1, {"loss": float("nan")})
    assert ask(second).number == 1
    assert second.session.refresh().record(0).error == "loss was nan at epoch 1"


def test_live_lease_is_left_alone(make_coordinator):
    first, second = make_coordinator(lease_seconds=60), make_coordinator(lease_seconds=60)
    assert ask(first).number == 0
    assert ask(second).number == 1
    assert ask(second) is None
    assert not second.session.is_done()


def test_heartbeat_beats_until_its_owner_is_gone():
    beats, enough = [], threading.Event()

    class Owner:
        def beat(self):
            beats.append(1)
            if len(beats) == 3:
                enough.set()

    owner = Owner()
    heart = Heartbeat(owner.beat, 0.001)
    heart.start()
    assert enough.wait(600)
    del owner
    heart._thread.join(600)
    assert not heart._thread.is_alive()


def test_heartbeat_ends_with_its_owner():
    class Owner:
        def beat(self):
            raise AssertionError("nobody is left to beat")

    heart = Heartbeat(Owner().beat, 0.001)  # the owner is gone at once
    heart.start()
    heart._thread.join(600)
    assert not heart._thread.is_alive()


def test_renewed_lease_is_kept(make_coordinator, tmp_path):
    first, second = make_coordinator(lease_seconds=60), make_coordinator(lease_seconds=60)
    ask(first)
    before = second.session.refresh()[0].row.lease_until
    first.session._renew()
    assert second.session.refresh()[0].row.lease_until > before


def test_dead_process_is_known_by_its_number():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = workers.worker_name()
    assert not workers.is_dead(here)
    place = here.rsplit("/", 2)[0]
    assert workers.is_dead(f"{place}/{process.pid}/abcd")
    assert not workers.is_dead(f"elsewhere/{process.pid}/abcd")
    assert not workers.is_dead("")
    assert not workers.is_dead(f"{place}/{os.getpid()}/abcd")


def test_two_processes_make_one_new_study(tmp_path):
    script = """import sys, hpo_plugins as h
sys.stdin.readline()
h.Tuner({'x': h.Continuous(0, 1)}, h.Minimize('l'), storage=sys.argv[1])"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "a.db"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]  # each drew a seed: the first one's is the study's
    assert errors == [""] * 4
    assert hpo.Tuner.load(tmp_path / "a.db").trials == ()


def test_other_search_of_the_same_name_is_refused(tmp_path):
    """Two scripts with different searches, at the same time."""
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=2, storage=tmp_path / "a.db", seed=0
    )
    trial = tuner.ask()
    script = """import sys, hpo_plugins as h
h.Tuner({'y': h.Integer(0, 9)}, h.Minimize('loss'), max_trials=2, storage=sys.argv[1]).ask()"""
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.db"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "The stored study 'default' was defined differently: space." in ended.stderr
    assert "or another name= to start a new study" in ended.stderr
    assert not trial.report(1, {"loss": 1.0})
    trial.end()
    assert [t.params.keys() for t in tuner.trials] == [{"x"}]


def test_expired_lease_of_a_living_process_is_watched_first(tmp_path, monkeypatch):
    """The clock has jumped, or the machine slept: no worker of this machine has had the time to renew its lease."""
    first, second, third = (hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", seed=0) for _ in range(3))
    assert first.ask().number == 0
    monkeypatch.setattr(workers.os, "getpid", os.getppid)
    expire_lease(first, 0, worker=(living := workers.worker_name()))
    monkeypatch.undo()
    assert second.ask().number == 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert second.ask().number == 0  # it was not renewed although there was time
    expire_lease(first, 0, 2, worker=living.replace("/" + living.rpartition("/")[2], "/1-of-a-dead-process"))
    assert third.ask().number == 0  # its process ID was given to another process


def test_trial_that_an_earlier_tuner_of_the_process_has_lost_goes_on_at_once(tmp_path):
    first, second = (hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", seed=0) for _ in range(2))
    assert (first.ask().number, second.ask().number) == (0, 1)
    del session_of(first).leases[0]
    assert second.ask().number == 0


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
@pytest.mark.parametrize("form", ["for trial in tuner: train(trial)", "tuner.run(train)", "train(tuner.ask())"])
def test_sigterm_gives_the_trial_back(form, tmp_path):
    script = f"""import signal, sys, hpo_plugins as hpo
tuner = hpo.Tuner({{"x": hpo.Continuous(0, 1)}}, hpo.Minimize("loss"), storage=sys.argv[1], seed=0)
def train(trial):
    trial.report(1, {{"loss": 1.0}})
    trial.save(lambda path: path.write_text("state"))
    signal.raise_signal(signal.SIGTERM)
    print("unreachable")
{form}"""
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.db"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
    tuner = hpo.Tuner.load(tmp_path / "a.db")
    row = history_of(tuner)[0].row
    assert (row.lease_until, row.failed_attempts) == (None, 0)
    assert tuner.ask().start_epoch == 1


def test_only_losses_without_a_new_checkpoint_count_towards_retries(tmp_path):
    def ask():
        return hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", retries=1, seed=0).ask()

    for attempt in range(1, 6):
        trial = ask()
        assert (trial.number, trial.attempt) == (0, attempt)
        trial.report(attempt, {"loss": 1.0})
        trial.save(lambda path: path.write_text("state"))
        expire_lease(hpo.Tuner.load(tmp_path / "a.db"), 0, attempt)
    assert ask().number == 0
    expire_lease(hpo.Tuner.load(tmp_path / "a.db"), 0, 6)
    assert ask().number == 1
    assert "without a new checkpoint" in hpo.Tuner.load(tmp_path / "a.db").trials[0].error
