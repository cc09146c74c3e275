"""Checkpoints in a loop of one's own: pause, crash, move, damage; and which files stay."""

import concurrent.futures
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import expire_lease, release, save_always, store_of

import hpo_plugins as hpo
from hpo_plugins.records import Progress
from hpo_plugins.storage.checkpoints import Checkpoints, SaveTimer, folder_name

X = {"x": hpo.Continuous(0, 1)}
EPOCHS = 9


class Walk:
    """A training run whose next epoch depends on everything before: a random walk, and its generator."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.position = 0.0

    def epoch(self):
        self.position += self.generator.normal()
        return self.position

    def write(self, path):
        path.write_text(json.dumps([self.position, self.generator.bit_generator.state]))

    def read(self, path):
        self.position, self.generator.bit_generator.state = json.loads(Path(path).read_text())


def walk(trial, epochs=EPOCHS, after=lambda trial, epoch: None):
    training = Walk(trial.number)
    if trial.resume_from:
        training.read(trial.resume_from)
    for epoch in range(trial.start_epoch + 1, epochs + 1):
        stop = trial.report(epoch, {"loss": training.epoch()})
        if trial.save_is_due:
            trial.save(training.write)
        after(trial, epoch)
        if stop:
            break


def tuner_for(storage, max_trials=12, pause=True, **arguments):
    strategy = hpo.Hyperband(max_resource=EPOCHS, pause=pause)
    return hpo.Tuner(
        X, hpo.Minimize("loss"), strategy=strategy, max_trials=max_trials, storage=storage, seed=0, **arguments
    )


def uninterrupted(number, epochs):
    training = Walk(number)
    return {epoch: training.epoch() for epoch in range(1, epochs + 1)}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def no_wait(monkeypatch):
    """A running training run may be saved after every epoch."""
    save_always(monkeypatch)


def test_paused_training_resumes_as_if_never_stopped(storage):
    tuner = tuner_for(storage)
    trained = {}
    for trial in tuner:
        walk(trial, after=lambda trial, epoch: trained.setdefault(trial.number, []).append(epoch))
    assert max(t.attempts for t in tuner.trials) > 1
    for record in tuner.trials:
        assert record.curve == uninterrupted(record.number, record.epochs)
        assert trained[record.number] == list(range(1, record.epochs + 1))


def test_only_the_best_trials_checkpoint_stays(tmp_path):
    tuner = tuner_for(tmp_path / "a.db")
    for trial in tuner:
        walk(trial)
        root = tmp_path / "a.db.checkpoints" / "default"
        waiting = [t for t in tuner.trials if t.state is hpo.TrialState.PAUSED]
        assert all(t.checkpoint in map(str, root.rglob("epoch-*")) for t in waiting)
    best = tuner.best_trial
    assert files(root) == [f"trial-{best.number:05d}/epoch-{EPOCHS:06d}.{best.attempts}"]
    assert best.checkpoint == str(root / files(root)[0])
    assert json.loads(Path(best.checkpoint).read_text())[0] == best.curve[EPOCHS]
    assert {t.checkpoint for t in tuner.trials if t.number != best.number} == {None}


def test_keep_keeps_all(tmp_path):
    tuner = tuner_for(tmp_path / "a.db", checkpoints="keep")
    for trial in tuner:
        walk(trial)
    assert all(t.checkpoint and Path(t.checkpoint).exists() for t in tuner.trials if t.attempts > 1)
    assert max(len(files(folder)) for folder in (tmp_path / "a.db.checkpoints" / "default").iterdir()) > 1


def test_files_of_the_users_own_stay(tmp_path):
    tuner = tuner_for(tmp_path / "a.db", max_trials=4)
    for trial in tuner:
        (trial.checkpoint_dir / "model.txt").write_text("mine")
        walk(trial)
    kept = [f for f in files(tmp_path / "a.db.checkpoints" / "default") if f.endswith("model.txt")]
    assert len(kept) == 4


def test_running_training_is_saved_if_others_could_resume_it(storage, no_wait):
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=storage, max_trials=1, seed=0)
    trial = tuner.ask()
    assert not trial.save_is_due
    trial.report(1, {"loss": 1.0})
    assert trial.save_is_due is (storage is not None)


def test_pauses_saves_paused_trainings_only(tmp_path, no_wait):
    tuner = tuner_for(tmp_path / "a.db", checkpoints="pauses")
    due = []
    for trial in tuner:
        walk(trial, after=lambda trial, epoch: due.append((trial.save_is_due, epoch)))
    assert {epoch for is_due, epoch in due if is_due} <= {1, 3}


def test_save_clock_keeps_the_cost_small():
    clock = SaveTimer()
    assert not clock.is_due()
    clock.last -= 1.1
    assert clock.is_due()
    clock.saved(cost=1.0)
    clock.last -= 19.0
    assert not clock.is_due()
    clock.last -= 1.5
    assert clock.is_due()


def test_interrupted_training_resumes_from_its_checkpoint(tmp_path, no_wait):
    def interrupt(trial, epoch):
        if epoch == 4:
            raise KeyboardInterrupt

    def make():
        return hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=1, seed=0)

    with pytest.raises(KeyboardInterrupt):
        for trial in make():
            walk(trial, after=interrupt)
    for trial in make():
        assert (trial.start_epoch, Path(trial.resume_from).name) == (4, "epoch-000004.1")
        walk(trial)
    assert make().trials[0].curve == uninterrupted(0, EPOCHS)


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[2], os.path.dirname(sys.argv[2])]
from test_checkpoints import X, Walk, hpo
tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=sys.argv[1], max_trials=1, seed=0)
trial = tuner.ask()
training = Walk(0)
for epoch in (1, 2):
    trial.report(epoch, {"loss": training.epoch()})
trial.save(training.write)
trial.report(3, {"loss": training.epoch()})
def half(path):
    path.write_text("[0.1")
    os.kill(os.getpid(), signal.SIGKILL)
trial.save(half)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_kill_during_the_write_leaves_the_old_checkpoint(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.db", Path(__file__).parent], check=False)
    assert ended.returncode == -signal.SIGKILL
    root = tmp_path / "a.db.checkpoints" / "default"
    assert files(root) == ["trial-00000/epoch-000002.1", "trial-00000/part-000003.1"]
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=1, seed=0)
    trial = tuner.ask()
    assert trial.start_epoch == 2
    walk(trial)
    trial.end()
    assert tuner.trials[0].curve == uninterrupted(0, EPOCHS)
    assert "part" not in "".join(files(root))


def test_worker_that_dies_before_its_checkpoint_pauses_nothing(tmp_path):
    tuner = tuner_for(tmp_path / "a.db")
    trial = tuner.ask()
    assert trial.report(1, {"loss": 1.0})  # to be paused; and here the worker is gone
    expire_lease(tuner, 0)
    again = tuner_for(tmp_path / "a.db").ask()
    assert (again.number, again.start_epoch, again.resume_from) == (0, 0, None)
    assert again.report(1, {"loss": 1.0})
    again.save(lambda path: path.write_text("state"))
    again.end()
    (record,) = tuner.trials
    assert (record.state, record.attempts) == (hpo.TrialState.PAUSED, 2)


def test_failed_write_stops_only_what_was_to_be_paused(tmp_path, caplog):
    def full(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", name="runs", max_trials=1, seed=0)
    trial = tuner.ask()
    assert not trial.report(1, {"loss": 1.0})
    assert not trial.save(full)
    assert not trial.report(2, {"loss": 1.0})
    assert "epoch 1 could not be saved: [Errno 28] No space left on device" in caplog.text

    tuner = tuner_for(tmp_path / "a.db", name="pauses")
    trial = tuner.ask()
    assert trial.report(1, {"loss": 1.0})
    assert not trial.save(full)
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.STOPPED
    assert "its checkpoint could not be written: [Errno 28]" in tuner.trials[0].stop_reason
    assert files(tmp_path / "a.db.checkpoints") == []


def test_error_of_the_users_own_writer_reaches_them(tmp_path):
    trial = tuner_for(tmp_path / "a.db").ask()
    trial.report(1, {"loss": 1.0})
    with pytest.raises(NameError, match="modle"):
        trial.save(lambda path: modle.save(path))  # noqa: F821, PLW0108
    assert files(tmp_path / "a.db.checkpoints") == []


def test_writer_that_writes_elsewhere_is_told_of_the_suffix(tmp_path):
    trial = tuner_for(tmp_path / "a.db").ask()
    trial.report(1, {"loss": 1.0})
    with pytest.raises(hpo.CheckpointError, match="must write to the path that it receives, .* pass it as suffix="):
        trial.save(lambda path: np.savez(path, a=1))
    assert trial.save(lambda path: np.savez(path, a=1), suffix=".npz")


def test_save_before_a_report_is_an_error(tmp_path):
    with pytest.raises(hpo.InvalidArgument, match=r"trial.save\(\) must follow a report, but trial 0 has none"):
        tuner_for(tmp_path / "a.db").ask().save(print)


def test_worker_that_lost_its_lease_leaves_no_checkpoint(tmp_path, caplog):
    tuner = tuner_for(tmp_path / "a.db", pause=False)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    expire_lease(tuner, 0)
    other = tuner_for(tmp_path / "a.db", pause=False).ask()
    assert other.number == 0
    other.report(1, {"loss": 1.0})
    other.save(lambda path: path.write_text("theirs"))
    assert not trial.save(lambda path: path.write_text("mine"))
    assert "taken over by another worker" in caplog.text
    assert trial.report(2, {"loss": 1.0})
    root = tmp_path / "a.db.checkpoints" / "default"
    assert [(root / f).read_text() for f in files(root)] == ["theirs"]


# What may be wrong with a checkpoint.


@pytest.fixture
def paused(tmp_path):
    """A study whose next hand-out is a paused trial, in a folder of its own."""
    folder = tmp_path / "study"
    folder.mkdir()
    tuner = tuner_for(folder / "a.db", max_trials=1)
    trial = tuner.ask()
    walk(trial)
    trial.end()
    assert tuner.trials[0].state is hpo.TrialState.PAUSED
    return folder


def test_study_is_moved_with_its_checkpoints(paused, tmp_path):
    moved = tmp_path / "elsewhere"
    paused.rename(moved)
    tuner = tuner_for(moved / "a.db", max_trials=1)
    for trial in tuner:
        assert trial.resume_from.startswith(str(moved))
        walk(trial)
    assert tuner.trials[0].curve == uninterrupted(0, EPOCHS)
    assert tuner.best_trial.checkpoint.startswith(str(moved))


def test_trial_whose_checkpoints_are_missing_is_trained_from_the_start(paused, caplog):
    shutil.rmtree(paused / "a.db.checkpoints")
    tuner = tuner_for(paused / "a.db", max_trials=1)
    starts = []
    for trial in tuner:
        starts.append(trial.start_epoch)
        walk(trial)
    assert starts[0] == 0
    assert tuner.trials[0].curve == uninterrupted(0, EPOCHS)
    assert "trial 0 at epoch 1 is missing, and the trial is trained from its first epoch again" in caplog.text
    assert "If the study was moved, move the folder" in caplog.text


def test_trial_whose_checkpoint_is_missing_resumes_from_an_earlier_one(tmp_path, caplog):
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=1, seed=0, checkpoints="keep")
    trial, training = tuner.ask(), Walk(0)
    for epoch in (1, 2, 3):
        trial.report(epoch, {"loss": training.epoch()})
        trial.save(training.write)
    release(trial)
    folder = tmp_path / "a.db.checkpoints" / "default" / "trial-00000"
    (folder / "epoch-000003.1").unlink()  # the power failed before it was on the disk
    (folder / "epoch-000009.1").write_text("of a study that is gone")
    tuner = hpo.Tuner(X, hpo.Minimize("loss"), storage=tmp_path / "a.db", max_trials=1, seed=0)
    for trial in tuner:
        assert (trial.start_epoch, Path(trial.resume_from).name) == (2, "epoch-000002.1")
        walk(trial)
    assert tuner.trials[0].curve == uninterrupted(0, EPOCHS)
    assert "resumes from an earlier one, of epoch 2" in caplog.text


def test_checkpoints_of_a_deleted_study_are_not_taken_for_those_of_a_new_one(tmp_path):
    folder = tmp_path / "a.db.checkpoints" / "default" / "trial-00000"
    folder.mkdir(parents=True)
    (folder / "epoch-000001.1").write_text("of a study that is gone")
    (folder / "notes.txt").write_text("the user's own")
    tuner_for(tmp_path / "a.db", max_trials=1)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "trial-00000/link"])
def test_path_outside_the_studys_folder_is_not_opened(path, paused):
    (paused / "secret").write_text("secret")
    (paused / "a.db.checkpoints" / "default" / "trial-00000" / "link").symlink_to(paused / "secret")
    tuner = tuner_for(paused / "a.db", max_trials=1)
    store_of(tuner).update(0, 1, progress=Progress(checkpoint=path))
    with pytest.raises(hpo.CheckpointError, match=r"must lie in the study's folder .*, but the storage says '.*'"):
        tuner.ask()
    tuner.restart(0)
    assert tuner.ask().resume_from is None
    assert (paused / "secret").exists()


def test_refused_checkpoint_releases_the_trial(paused):
    """An integration raises this: the trial is not lost by it."""
    tuner = tuner_for(paused / "a.db", max_trials=1)
    with pytest.raises(hpo.CheckpointError, match="damaged"):
        for _ in tuner:
            raise hpo.CheckpointError("damaged")
    assert tuner.trials[0].state is hpo.TrialState.RUNNING
    assert tuner.ask().start_epoch == 1


def test_restart_of_a_trial_that_is_over_is_an_error(paused):
    tuner = tuner_for(paused / "a.db", max_trials=1)
    with pytest.raises(hpo.InvalidArgument, match="number=7. It has 1 trials"):
        tuner.restart(7)


def test_folder_is_chosen(tmp_path):
    tuner = tuner_for(tmp_path / "a.db", max_trials=1, checkpoint_dir=tmp_path / "shared")
    trial = tuner.ask()
    walk(trial)
    trial.end()
    assert files(tmp_path / "shared") == ["default/trial-00000/epoch-000001.1"]


@pytest.mark.parametrize("name", ["plain", "a/b", "a_b", "..", ".", "../../x", "ü b", "a" * 300])
def test_folder_names_are_safe_and_apart(name, tmp_path):
    others = {"plain", "a/b", "a_b", "..", ".", "../../x", "ü b", "a" * 300} - {name}
    assert folder_name(name) not in {folder_name(other) for other in others}
    assert (tmp_path / folder_name(name)).resolve().parent == tmp_path.resolve()
    assert len(folder_name(name)) < 100


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(
        hpo.InvalidArgument, match="checkpoints must be 'auto', 'best', 'keep' or 'pauses', but got .*'all'"
    ):
        tuner_for(tmp_path / "a.db", checkpoints="all")
    with pytest.raises(hpo.InvalidArgument, match="retry_on must be a tuple of exception types.* got retry_on=<class"):
        tuner_for(tmp_path / "a.db", retry_on=ValueError)


def test_folders_can_be_checkpoints(tmp_path):
    def write(path):
        path.mkdir()
        (path / "shard-0").write_text("0")

    checkpoints = Checkpoints(tmp_path)
    first = checkpoints.write(0, 1, 1, write, "")
    second = checkpoints.write(0, 1, 2, write, "")
    checkpoints.clear(0, but=second)
    assert files(tmp_path) == [f"{second}/shard-0"]
    assert not (tmp_path / first).exists()


# Exceptions of the user's own code.


def test_listed_exceptions_are_tried_again_and_no_others(storage):
    tuner = hpo.Tuner(
        X, hpo.Minimize("loss"), storage=storage, max_trials=2, retries=2, retry_on=(MemoryError,), seed=0
    )
    handed = []
    for _ in range(3):
        with pytest.raises(MemoryError):
            for trial in tuner:
                handed.append(trial.number)
                trial.report(1, {"loss": 1.0})
                raise MemoryError("of the GPU")
    assert handed == [0, 0, 0]
    assert tuner.trials[0].state is hpo.TrialState.FAILED
    assert tuner.trials[0].error == "out of memory: MemoryError: of the GPU (attempt 3, and retries=2)"
    with pytest.raises(ValueError, match="else"):
        for _ in tuner:
            raise ValueError("else")
    assert tuner.trials[1].error == "ValueError: else"
    assert tuner.done


def test_two_processes_may_clear_at_once(tmp_path):
    """Both see a search end, and both delete what nobody needs any more."""
    checkpoints = Checkpoints(tmp_path)
    for _ in range(50):
        checkpoints.write(0, 1, 1, lambda path: path.write_text("state"), "")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(checkpoints.clear, [0] * 8))
        assert not (tmp_path / "trial-00000").exists()


# The best epoch.


def search_with(policy, losses, storage=None, **arguments):
    """Train one trial per list of losses, saving when that is due; return the tuner and the saved (trial, epoch)."""
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss", **arguments), max_trials=len(losses), seed=0,
        checkpoints=policy, storage=storage, progress="off",
    )  # fmt: skip
    saved = []
    for trial in tuner:
        for epoch, loss in enumerate(losses[trial.number], 1):
            trial.report(epoch, {"loss": loss})
            if trial.save_is_due:
                trial.save(lambda path, text=f"{trial.number} {epoch}": path.write_text(text))
                saved.append((trial.number, epoch))
    return tuner, saved


@pytest.mark.parametrize("kept", ["memory", "sqlite"])
def test_epochs_that_improve_the_study_are_saved(kept, tmp_path):
    losses = [[3.0, 1.0, 2.0], [2.0, 1.5, 1.4], [4.0, 0.5, 0.7, 0.4, 0.6], [0.9, 0.8]]
    tuner, saved = search_with("best", losses, None if kept == "memory" else tmp_path / "a.db")
    assert saved == [(0, 1), (0, 2), (2, 2), (2, 4)]
    best = tuner.best_trial
    assert (best.number, best.best_epoch) == (2, 4)
    assert Path(best.best_checkpoint).read_text() == "2 4"
    assert [trial.best_checkpoint is None for trial in tuner.trials] == [True, True, False, True]
    assert len(list(Path(best.best_checkpoint).parent.parent.glob("*/*"))) == 1


def test_last_value_that_counts_is_saved_as_it_was():
    tuner, _ = search_with("best", [[3.0, 1.0], [2.0, 0.5, 0.7]], at="last")
    assert tuner.best_trial.best_epoch == 3
    assert Path(tuner.best_trial.best_checkpoint).read_text() == "1 3"


def test_checkpoint_of_another_epoch_is_not_called_the_best(tmp_path):
    """Saved by the clock only: the best epoch passed without a checkpoint."""
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1, progress="off")
    for trial in tuner:
        for epoch, loss in enumerate([1.0, 2.0, 3.0], 1):
            trial.report(epoch, {"loss": loss})
        trial.save(lambda path: path.touch())
    assert tuner.trials[0].checkpoint is not None
    assert tuner.trials[0].best_epoch == 1
    assert tuner.trials[0].best_checkpoint is None


def test_best_checkpoint_survives_later_ones_of_its_trial(tmp_path, monkeypatch):
    save_always(monkeypatch)
    tuner, saved = search_with("best", [[1.0, 2.0, 3.0]], tmp_path / "a.db")
    assert saved == [(0, 1), (0, 2), (0, 3)]
    record = tuner.trials[0]
    assert Path(record.best_checkpoint).read_text() == "0 1"
    assert Path(record.checkpoint).read_text() == "0 3"


def test_best_epoch_of_a_failed_trial_is_forgotten(tmp_path):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=2, seed=0, checkpoints="best",
        storage=tmp_path / "a.db", progress="off",
    )  # fmt: skip
    for trial in tuner:
        trial.report(1, {"loss": 1.0 + trial.number})
        if trial.save_is_due:
            trial.save(lambda path: path.touch())
        if not trial.number:
            trial.fail("broken")
    assert tuner.best_trial.number == 1
    assert tuner.trials[0].best_checkpoint is None
