"""Callbacks of the tuner: each ended trial is passed on once, for any worker and after any error."""

import hashlib
import logging
import subprocess
import sys
import textwrap

import pytest
from support import store_of

import hpo_plugins as hpo
from hpo_plugins.coordination import workers

SPACE = {"x": hpo.Continuous(0, 1)}


class Recorder(hpo.TunerCallback):
    def __init__(self, destination="Recorder"):
        self.place = destination
        self.calls = []

    @property
    def destination(self):
        return self.place

    @property
    def trials(self):
        return [trial.number for kind, trial in self.calls if kind == "trial"]

    @property
    def kinds(self):
        return [kind for kind, _ in self.calls]

    def on_search_begin(self, tuner):
        self.calls.append(("begin", None))

    def on_trial_end(self, tuner, trial):
        assert tuner.trials[trial.number] == trial
        self.calls.append(("trial", trial))

    def on_search_end(self, tuner):
        self.calls.append(("end", None))


def make(callbacks, **arguments):
    return hpo.Tuner(SPACE, hpo.Minimize("loss"), **{"max_trials": 4, "seed": 0} | arguments, callbacks=callbacks)


def train(trial):
    for epoch in range(trial.start_epoch + 1, 4):
        if trial.report(epoch, {"loss": trial["x"] / epoch}):
            break


def test_loop_passes_each_trial_on_between_trainings():
    recorder = Recorder()
    seen = []
    for trial in make([recorder]):
        seen.append(list(recorder.trials))
        train(trial)
    assert seen == [[], [0], [0, 1], [0, 1, 2]]
    assert recorder.kinds == ["begin", "trial", "trial", "trial", "trial", "end"]


def test_run_passes_each_trial_on():
    recorder = Recorder()
    make([recorder]).run(train)
    assert recorder.kinds == ["begin", "trial", "trial", "trial", "trial", "end"]


def test_asking_passes_each_trial_on():
    recorder = Recorder()
    tuner = make([recorder])
    while not tuner.done:
        trial = tuner.ask()
        train(trial)
        trial.fail("no") if trial.number == 2 else trial.end()
        assert recorder.trials[-1] == trial.number
    assert tuner.ask() is None
    assert recorder.kinds == ["begin", "trial", "trial", "trial", "trial", "end"]


def test_workers_trials_are_passed_on_by_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import hpo_plugins as hpo

            def train(trial):
                trial.report(1, {"loss": trial["x"]})

            class Print(hpo.TunerCallback):
                def on_trial_end(self, tuner, trial):
                    print(trial.number, flush=True)

            if __name__ == "__main__":
                tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=6, callbacks=[Print()])
                tuner.run(train, workers=2)
            """)
    )
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, timeout=600)
    assert sorted(map(int, done.stdout.split())) == list(range(6))


def test_broken_off_loop_passes_its_last_trial_on():
    recorder = Recorder()
    for trial in make([recorder]):
        train(trial)
        if trial.number == 1:
            break
    assert recorder.kinds == ["begin", "trial", "trial", "end"]


def test_exception_passes_the_failed_trial_on():
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        for trial in make([recorder]):
            train(trial)
            raise ZeroDivisionError
    (_, failed) = recorder.calls[1]
    assert (failed.state, recorder.kinds) == (hpo.TrialState.FAILED, ["begin", "trial", "end"])


@pytest.mark.parametrize("storage", [None, "study.db"])
def test_next_run_passes_on_what_ended_without_it(tmp_path, storage):
    where = {} if storage is None else {"storage": tmp_path / storage}
    first, second = Recorder("a"), Recorder("b")
    tuner = make([first], **where)
    for trial in tuner:
        train(trial)
        if trial.number == 1:
            break
    if storage is not None:
        tuner = make([first, second], **where)
    for trial in tuner:
        train(trial)
    assert first.trials == [0, 1, 2, 3]
    assert second.trials == ([] if storage is None else [0, 1, 2, 3])


def test_processes_that_share_a_study_pass_each_trial_on_once(tmp_path):
    recorders = [Recorder(), Recorder()]
    tuners = [make([recorder], storage=tmp_path / "study.db", max_trials=8) for recorder in recorders]
    while not tuners[0].done:
        trials = [trial for tuner in tuners if (trial := tuner.ask())]
        for trial in trials:
            train(trial)
        for trial in trials:
            trial.end()
    assert sorted(recorders[0].trials + recorders[1].trials) == list(range(8))


def test_paused_trials_are_passed_on_when_they_have_ended():
    recorder = Recorder()
    tuner = make([recorder], strategy=hpo.Hyperband(max_resource=3, search="random", pause=True), max_trials=9)
    paused = set()
    for trial in tuner:
        paused |= {trial.number for trial in tuner.trials if trial.state is hpo.TrialState.PAUSED}
        assert not paused & set(recorder.trials) - {trial.number for trial in tuner.trials if trial.state.is_final}
        for epoch in range(trial.start_epoch + 1, 4):
            stop = trial.report(epoch, {"loss": trial["x"] / epoch})
            if trial.save_is_due:
                trial.save(lambda path: path.write_text("weights"))
            if stop:
                break
    assert paused
    assert sorted(recorder.trials) == list(range(9))


def test_error_of_a_callback_ends_nothing(caplog):
    class Broken(Recorder):
        def on_search_begin(self, tuner):
            raise OSError("no server")

        def on_trial_end(self, tuner, trial):
            super().on_trial_end(tuner, trial)
            raise ValueError(f"bad trial {trial.number}")

    broken, sound = Broken("broken"), Recorder("sound")
    tuner = make([broken, sound])
    with caplog.at_level(logging.WARNING, "hpo_plugins"):
        for trial in tuner:
            train(trial)
    assert sound.trials == [0, 1, 2, 3]
    assert set(broken.trials) == {0, 1, 2, 3}
    assert len(broken.trials) <= 12  # one is tried again at each look
    assert "Broken was not told of the begin of the search: OSError: no server" in caplog.text
    assert "Broken was not told of the end of trial 3: ValueError: bad trial 3" in caplog.text
    assert "replay(tuner)" in caplog.text


@pytest.mark.parametrize("pattern", ["each first time", "away for a while"])
def test_trial_that_could_not_be_passed_on_is_passed_on_later(pattern, storage, caplog):
    class Flaky(Recorder):
        n_calls = 0

        def on_trial_end(self, tuner, trial):
            Flaky.n_calls += 1
            if trial.number not in tried if pattern == "each first time" else Flaky.n_calls < 7:
                tried.add(trial.number)
                raise ConnectionError("the server is away")
            super().on_trial_end(tuner, trial)

    tried = set()
    flaky = Flaky("flaky")
    for trial in make([flaky], storage=storage):
        train(trial)
    assert sorted(flaky.trials) == [0, 1, 2, 3]
    warned = [record.getMessage() for record in caplog.records if "was not told of the end" in record.getMessage()]
    assert len(warned) == len(set(warned))  # one for each trial


def test_trial_that_a_killed_process_was_passing_on_is_passed_on_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = workers.worker_name()
    place = here.rsplit("/", 2)[0]
    for trial in make([], storage=tmp_path / "a.db"):
        train(trial)
    recorder = Recorder("one")
    tuner = make([recorder], storage=tmp_path / "a.db")
    key = hashlib.sha256(recorder.destination.encode()).hexdigest()[:16]
    owners = {
        0: f"{10**12} {place}/{dead.pid}/1-x",
        1: "1000 elsewhere/1/1-x",
        2: f"{10**12} elsewhere/1/1-x",
        3: "done",
    }
    for number, owner in owners.items():  # dead; too long ago; perhaps alive; done
        store_of(tuner).claim(f"callback {key} {number}", owner)
    for _ in tuner:
        pass
    assert recorder.trials == [0, 1]


def test_interrupt_in_a_callback_propagates_after_a_warning(caplog):
    class Interrupted(hpo.TunerCallback):
        def on_trial_end(self, tuner, trial):
            raise KeyboardInterrupt

    tuner = make([Interrupted()])
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING, "hpo_plugins"):
        for trial in tuner:
            train(trial)
    assert "Interrupted was not told of the end of trial 0" in caplog.text
    assert [trial.state for trial in tuner.trials] == [hpo.TrialState.COMPLETED]


def test_replay_passes_a_stored_study_on(tmp_path):
    for trial in make([], storage=tmp_path / "study.db"):
        train(trial)
    recorder = Recorder()
    recorder.replay(hpo.Tuner.load(tmp_path / "study.db"))
    recorder.replay(hpo.Tuner.load(tmp_path / "study.db"))
    assert recorder.kinds == ["begin", "trial", "trial", "trial", "trial", "end"] * 2


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (Recorder(), "must be a list of TunerCallback"),
        ([print], "got builtin_function_or_method.*TrialCallback"),
        ([Recorder(), Recorder()], "two of Recorder have the same"),
    ],
)
def test_wrong_callbacks_are_refused(callbacks, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make(callbacks)


def test_seconds_of_a_trial_grow_with_its_epochs():
    tuner = make([])
    for trial in tuner:
        train(trial)
    seconds = tuner.trials[0].seconds
    assert list(seconds) == [1, 2, 3]
    assert list(seconds.values()) == sorted(seconds.values())
