"""Checkpoints for machines without a common folder: on the server, and in stores of objects."""

import json
import math
import os
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support import history_of, session_of

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.records import TrialState
from hpo_plugins.serve import files, uploads
from hpo_plugins.serve.connection import Connection
from hpo_plugins.serve.files import HttpFiles
from hpo_plugins.serve.uploads import Uploads
from hpo_plugins.serve.wire import Range, Upload
from hpo_plugins.storage import open_storage
from hpo_plugins.storage.objects import ObjectFiles
from hpo_plugins.storage.remote import pack, unpack
from hpo_plugins.storage.retry import Unreachable

from .conftest import serving


@pytest.fixture
def s3(monkeypatch):
    """The URL of a bucket on a server of this process."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket-{uuid.uuid4()}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    yield f"s3://{bucket}/tuning"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


PLACES = ["server", "memory", "file", pytest.param("s3", marks=pytest.mark.server)]


@pytest.fixture
def place(request, tmp_path):
    """The argument checkpoint_dir= of a place."""
    match request.param:
        case "server":
            return None
        case "memory":
            return f"memory://{uuid.uuid4()}"
        case "file":
            return f"file://{tmp_path / 'shared'}"
        case _:
            return request.getfixturevalue("s3")


@pytest.fixture
def on_host(tmp_path, monkeypatch):
    """Change to the working directory of a host."""

    def change(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)

    return change


def walk(trial, *, folder=False):
    """Train a random walk, whose epochs depend on all before; saves when it must."""
    generator, position = np.random.default_rng(trial.number), 0.0
    if trial.resume_from:
        path = Path(trial.resume_from)
        position, generator.bit_generator.state = json.loads((path / "deep" / "state" if folder else path).read_text())

    def write(path):
        if folder:
            (path / "deep").mkdir(parents=True)
            path /= "deep/state"
        path.write_text(json.dumps([position, generator.bit_generator.state]))

    for epoch in range(trial.start_epoch + 1, 10):
        position += generator.normal()
        stop = trial.report(epoch, {"loss": position})
        if trial.save_is_due:
            trial.save(write)
        if stop:
            return


def tuner_for(url, place, **arguments):
    strategy = hpo.Hyperband(max_resource=9, search="random", pause=True)
    return hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=strategy, max_trials=12, storage=url, name="a/b",
        seed=0, checkpoint_dir=place, **arguments,
    )  # fmt: skip


def exact(number):
    return np.cumsum(np.random.default_rng(number).normal(size=9))


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_paused_trial_resumes_on_another_host(place, folder, url, on_host):
    hosts, resumed, turn = {}, 0, 0
    for name in ("one", "two"):
        on_host(name)
        hosts[name] = tuner_for(url, place)
    while not hosts["one"].done:
        turn += 1
        name = ("one", "two")[turn % 2]
        on_host(name)
        trial = hosts[name].ask()
        if trial is None:
            break
        resumed += trial.start_epoch > 0
        walk(trial, folder=folder)
        trial.end()
    assert resumed > 0
    on_host("three")
    found = hpo.Tuner.load(url, "a/b", checkpoint_dir=place)
    for trial in found.trials:
        assert list(trial.curve.values()) == pytest.approx(exact(trial.number)[: trial.epochs], abs=1e-12)
        assert trial.error is None
    assert all(t.start_epoch for t in (history_of(found)[n].row.progress for n in range(12)) if t.checkpoint)


def test_best_model_is_fetched_and_is_at_the_server(url, tmp_path, on_host):
    on_host("one")
    tuner = tuner_for(url, None, checkpoints="best")
    for trial in tuner:
        walk(trial)
    on_host("two")
    assert "is missing" not in CliRunner().invoke(main, ["doctor", url]).output
    best = hpo.Tuner.load(url, "a/b").best_trial
    assert Path(best.best_checkpoint).is_relative_to(tmp_path / "two")
    position, _ = json.loads(Path(best.best_checkpoint).read_text())
    assert math.isclose(position, best.value)
    direct = hpo.Tuner.load(tmp_path / "served.db", "a/b").best_trial
    assert Path(direct.best_checkpoint).read_text() == Path(best.best_checkpoint).read_text()
    for path in {direct.checkpoint, direct.best_checkpoint}:
        Path(path).unlink()
    on_host("three")
    assert "is missing" in CliRunner().invoke(main, ["doctor", url]).output


def test_unused_checkpoints_are_removed_everywhere(url, tmp_path, on_host):
    on_host("one")
    tuner = tuner_for(url, None)
    for trial in tuner:
        walk(trial)
    kept = {row.progress.checkpoint for row in (history_of(tuner)[n].row for n in range(12))} - {None}
    root = Path(open_storage(tmp_path / "served.db").checkpoint_root("a/b"))
    assert {p.relative_to(root).as_posix() for p in root.rglob("epoch-*")} == kept
    assert not list(root.rglob("part-*"))
    open_storage(url).rename("a/b", "c")
    assert not root.exists()
    assert hpo.Tuner.load(url, "c").best_trial.checkpoint
    hpo.studies(url)["c"].delete()
    assert not Path(open_storage(tmp_path / "served.db").checkpoint_root("c")).exists()


@pytest.mark.parametrize("place", ["server", "memory"], indirect=True)
def test_confirmation_keeps_its_checkpoints_in_the_same_place(place, url, on_host):
    on_host("one")
    tuner = tuner_for(url, place)
    for trial in tuner:
        walk(trial)
    sessions = []
    for trial in tuner.confirm(top=2, repeats=2):
        sessions.append(trial._lease.session)
        walk(trial)
    assert {session.checkpoints.url for session in sessions} == {place}


@pytest.fixture
def remote(url):
    study = open_storage(url).open("s", {})
    return study.checkpoint_files()


def test_upload_goes_on_where_it_was_interrupted(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PART", 1_000)
    monkeypatch.setattr(uploads, "MAX_PART", 700)
    package, sent, exchange = tmp_path / "package", [], Connection.exchange
    (tmp_path / "model").write_bytes(np.random.default_rng(0).bytes(10_000))
    pack(tmp_path / "model", package)

    def failing(self, path, body, *arguments):
        sent.append(path)
        if len(sent) == 5:
            raise StorageErrorForTests("the cable was pulled out")
        return exchange(self, path, body, *arguments)

    class StorageErrorForTests(hpo.StorageError):
        pass

    monkeypatch.setattr(Connection, "exchange", failing)
    with pytest.raises(StorageErrorForTests, match="cable"):
        remote.put("trial-00000/epoch-000001.1", package)
    remote.put("trial-00000/epoch-000001.1", package)
    assert sent.count("checkpoints/upload") <= 5 + 1 + math.ceil(package.stat().st_size / 1_000) - 4 + 1
    remote.put("trial-00000/epoch-000001.1", package)  # it is there: the answer was lost
    assert remote.names("trial-00000") == ["epoch-000001.1"]
    assert remote.get("trial-00000/epoch-000001.1", tmp_path / "fetched")
    unpack(tmp_path / "fetched", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()
    assert not remote.get("trial-00000/epoch-000002.1", tmp_path / "nothing")
    remote.remove("trial-00000/epoch-000001.1")
    remote.remove("trial-00000/epoch-000001.1")
    assert remote.names("trial-00000") == []


NAMES = [
    "../../etc/passwd", "trial-00000/../../x", "/etc/passwd", "trial-00000", "trial-00000/part-000001.1", "",
    "trial-00000/epoch-000001.1/../../../x", "trial-00000/epoch-000001.1/x",
    "trial-\u0660\u0660\u0660\u0660\u0660/epoch-000001.1",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_lead_nowhere_else(name, remote, tmp_path):
    package = tmp_path / "package"
    (tmp_path / "model").write_text("x")
    pack(tmp_path / "model", package)
    for call in (
        lambda: remote.put(name, package),
        lambda: remote.get(name, tmp_path / "x"),
        lambda: remote.remove(name),
    ):
        with pytest.raises(hpo.InvalidArgument, match="of that name is not allowed"):
            call()
    with pytest.raises(hpo.InvalidArgument, match="of that name is not allowed"):
        remote.names(f"{name}/..")


def test_wrong_bytes_and_sizes_are_refused(tmp_path):
    there = Uploads(tmp_path / "root", max_bytes=100)

    def upload(size, content=b"x", digest="0" * 64):
        return there.add(Upload("i", "s", "trial-00000/epoch-000001.1", digest, 0, size), content)

    with pytest.raises(hpo.InvalidArgument, match="may have 100 bytes, but it has 101"):
        upload(101)
    with pytest.raises(hpo.InvalidArgument, match="may have 100 bytes"):
        upload(-1)
    with pytest.raises(hpo.CheckpointError, match="damaged on its way"):
        upload(1)
    assert upload(10, b"x" * 11) == 0  # more than it said
    with pytest.raises(hpo.InvalidArgument, match="not allowed"):
        upload(1, digest="../x")
    with pytest.raises(hpo.InvalidArgument, match="not allowed"):
        there.read(Range("i", "s", "trial-00000/epoch-000001.1", "../x", 0))
    assert not list((tmp_path / "root").glob("trial-*"))


def test_parts_that_nobody_continues_are_removed(tmp_path):
    there = Uploads(tmp_path)

    def begin(digit):
        return there.add(Upload("i", "s", "trial-00000/epoch-000001.1", digit * 64, 0, 10), b"x")

    assert begin("a") == begin("b") == 1
    old, new = sorted(tmp_path.glob("part-*"))
    os.utime(old, (0, 0))
    assert begin("b") == 1
    assert list(tmp_path.glob("part-*")) == [new]


@pytest.mark.parametrize("names", [["../escaped"], ["folder/../../escaped"], ["/escaped"], ["file", "file2"], []])
def test_packages_of_strangers_stay_in_their_folder(names, tmp_path):
    package = tmp_path / "in" / "package"
    package.parent.mkdir()
    with zipfile.ZipFile(package, "w") as made:
        for name in names:
            made.writestr(name, "x")
    try:
        unpack(package, tmp_path / "in" / "checkpoint")
    except zipfile.BadZipFile:
        pass
    else:
        assert names == ["folder/../../escaped"]
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("url", "error"), [("nothing://x", hpo.InvalidArgument), ("gs://bucket/x", hpo.MissingDependency)]
)
def test_unknown_url_for_checkpoints_is_named(url, error):
    with pytest.raises(error, match=url.partition(":")[0]):
        hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), checkpoint_dir=url)


def test_training_continues_while_checkpoints_cannot_be_sent(url, on_host, monkeypatch, caplog):
    on_host("one")
    tuner = tuner_for(url, None, checkpoints="best")

    def away(self, name, package):
        raise Unreachable("the server is away")

    monkeypatch.setattr(HttpFiles, "put", away)
    trial = tuner.ask()
    walk(trial)
    assert "could not be saved: the server is away" in caplog.text
    trial.end()
    assert tuner.trials[0].state in (TrialState.STOPPED, TrialState.COMPLETED)
    assert not list(session_of(tuner).checkpoints.root.rglob("epoch-*"))


def test_new_study_of_a_deleted_ones_name_has_none_of_its_files(tmp_path, on_host):
    on_host("one")
    place = f"memory://{uuid.uuid4()}"
    with serving(tmp_path / "a.db") as url:
        tuner = tuner_for(url, place)
        for trial in tuner:
            walk(trial)
        assert ObjectFiles(f"{place}/{Path(session_of(tuner).checkpoints.root).name}")._system.find(place)
        open_storage(url).delete("a/b")
        again = tuner_for(url, place)
        assert session_of(again).checkpoints.newest(0, 9, 9) is None
