"""A real local Ray: the place of the study, the loss of workers and nodes, and refused arguments."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hpo_plugins as hpo

ray = pytest.importorskip("ray")
from hpo_plugins.integrations.ray import RayWorkers  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore")]  # Ray's own
X = {"x": hpo.Continuous(0, 1)}
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A head node with 2 CPUs, to which tests may add nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def tuner_for(storage, pause=True, **arguments):
    # All but one trial pause at epoch 3, and at the end at least the best of them goes on, whoever came first.
    rungs = {"min_resource": 3, "max_resource": 9, "reduction_factor": 9}
    strategy = hpo.Hyperband(**rungs, search="random", pause=True) if pause else hpo.Random()
    arguments = {"max_trials": 6, "seed": 0} | arguments
    return hpo.Tuner(X, hpo.Minimize("loss"), strategy=strategy, storage=storage, **arguments)


def train(trial):
    state = Path(trial.resume_from).read_text() if trial.resume_from else "0"
    assert state == str(trial.start_epoch)
    for epoch in range(trial.start_epoch + 1, 10):
        stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "pid": os.getpid()})
        if trial.save_is_due:
            trial.save(lambda path: path.write_text(str(epoch)))  # noqa: B023
        if stop:
            break


@pytest.mark.full
def test_study_is_in_the_drivers_storage_and_checkpoints_too(storage):
    tuner = tuner_for(storage)
    tuner.run(train, workers=RayWorkers(2))
    assert tuner.done
    assert [t.number for t in tuner.trials] == list(range(6))
    assert {t.state.value for t in tuner.trials} <= {"completed", "stopped"}
    assert max(t.attempts for t in tuner.trials) > 1  # paused on one worker, and gone on with on any
    assert os.getpid() not in {m["pid"] for t in tuner.trials for m in t.metrics.values()}
    assert Path(tuner.best_trial.checkpoint).read_text() == "9"
    if storage is not None:
        assert hpo.Tuner.load(storage).trials == tuner.trials


@pytest.mark.full
def test_killed_worker_is_replaced_and_its_trial_resumed(tmp_path):
    def killed(trial):
        if trial.number == 1 and trial.start_epoch == 0:
            trial.report(1, {"loss": 1.0})
            trial.report(2, {"loss": 1.0})
            trial.save(lambda path: path.write_text("2"))
            os.kill(os.getpid(), signal.SIGKILL)
        train(trial)

    tuner = tuner_for(tmp_path / "a.db", pause=False, max_trials=3)
    tuner.run(killed, workers=RayWorkers(2))
    assert [(t.state.value, t.attempts, list(t.curve)) for t in tuner.trials] == [
        ("completed", 1 + (number == 1), list(range(1, 10))) for number in range(3)
    ]


@pytest.mark.full
def test_tasks_of_a_lost_node_continue_elsewhere(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=1, resources={"far": 1}) for _ in range(2)]
    cluster.wait_for_nodes()
    began, done = tmp_path / "began", threading.Event()

    def far(trial):
        if not began.exists():
            trial.report(1, {"loss": 1.0})
            trial.save(lambda path: path.write_text("1"))
            (tmp_path / "beginning").write_text(ray.get_runtime_context().get_node_id())
            (tmp_path / "beginning").rename(began)
            threading.Event().wait(60)
        train(trial)

    def lose():
        while not began.exists() and not done.wait(0.05):
            pass
        cluster.remove_node(next(n for n in nodes if n.node_id == began.read_text()), allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    tuner = tuner_for(tmp_path / "a.db", pause=False, max_trials=2)
    tuner.run(far, workers=RayWorkers(1, resources={"far": 1}))
    done.set()
    thread.join()
    assert [(t.state.value, t.attempts, list(t.curve)) for t in tuner.trials] == [
        ("completed", 2 - number, list(range(1, 10))) for number in range(2)
    ]


@pytest.mark.full
def test_checkpoints_that_are_folders_travel(tmp_path):
    def folders(trial):
        state = "0"
        if trial.resume_from:
            state = (Path(trial.resume_from) / "deep" / "state").read_text()
        assert state == str(trial.start_epoch)

        def write(path):
            (path / "deep").mkdir(parents=True)
            (path / "deep" / "state").write_text(str(epoch))

        for epoch in range(trial.start_epoch + 1, 10):
            stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
            if trial.save_is_due:
                trial.save(write)
            if stop:
                break

    tuner = tuner_for(tmp_path / "a.db")
    tuner.run(folders, workers=RayWorkers(2))
    assert max(t.attempts for t in tuner.trials) > 1
    assert (Path(tuner.best_trial.checkpoint) / "deep" / "state").read_text() == "9"


def test_workers_of_a_driver_that_has_died_are_known_to_be_lost():
    """So the next driver does not wait for their leases."""
    from hpo_plugins.coordination.workers import is_alive, is_dead, is_here, remote_worker_name

    own = remote_worker_name()
    assert (is_alive(own), is_dead(own), is_here(own)) == (sys.platform == "linux", False, False)
    code = "from hpo_plugins.coordination.workers import remote_worker_name; print(remote_worker_name())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert is_dead(gone)


def test_error_of_train_is_raised_in_the_driver(tmp_path):
    def broken(trial):
        raise ValueError("boom")

    tuner = tuner_for(tmp_path / "a.db")
    with pytest.raises(ValueError, match="boom"):
        tuner.run(broken, workers=RayWorkers(1))
    assert tuner.trials[0].error == "ValueError: boom"


def test_what_cannot_be_done_is_named_before_anything_starts():
    tuner = tuner_for(None)
    with pytest.raises(hpo.InvalidArgument, match="it asks for GPU=1 and the largest node has GPU=0. Ask for less"):
        tuner.run(train, workers=RayWorkers(1, num_gpus=1))
    lock = threading.Lock()
    with pytest.raises(hpo.InvalidArgument, match="train must be a function that Ray can send"):
        tuner.run(lambda trial: lock, workers=RayWorkers(1))
    assert tuner.trials == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_workers": 0}, "num_workers must be a whole number of at least 1, but got num_workers=0"),
        ({"num_workers": 2, "num_cpus": -1}, "num_cpus must be at least 0, but got num_cpus=-1"),
        ({"num_workers": 2, "num_gpus": "1"}, "num_gpus must be a finite number, but got num_gpus='1'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        RayWorkers(**arguments)
