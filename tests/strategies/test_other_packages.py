"""Strategies of other packages: any process with the package installed reads a study that one has searched."""

import os
import subprocess
import sys

import pytest

SOURCE = """
from dataclasses import dataclass
import hpo_plugins as hpo
from hpo_plugins.extending import untried_draw

@dataclass(frozen=True)
class Theirs(hpo.Strategy):
    offset: int = 1

    def suggest(self, history, seed):
        return untried_draw(history, seed + self.offset)
"""
SEARCH = """
import hpo_plugins as hpo
from theirs_of_a_package import Theirs

for trial in hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=Theirs(7), max_trials=2,
                       storage="study.db"):
    trial.report(1, {"loss": trial["x"]})
"""
READ = "import hpo_plugins as hpo; print(hpo.Tuner.load('study.db').strategy)"


@pytest.fixture
def folder(tmp_path):
    """A folder with the module and a study that was searched by its strategy."""
    (tmp_path / "theirs_of_a_package.py").write_text(SOURCE)
    ended = run(SEARCH, tmp_path)
    assert ended.returncode == 0, ended.stderr
    return tmp_path


def install(folder, value):
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hpo_plugins.strategies]\nTheirs = {value}\n")


def run(script, folder):
    environment = os.environ | {"PYTHONPATH": str(folder), "HPO_PLUGINS_PROGRESS": "off"}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_study_of_an_installed_package_is_read(folder):
    install(folder, "theirs_of_a_package:Theirs")
    assert run(READ, folder).stdout == "Theirs(offset=7)\n"


def test_study_of_an_unknown_package_is_an_error(folder):
    assert "'Theirs' is not known" in run(READ, folder).stderr


def test_package_that_cannot_be_imported_is_named(folder):
    install(folder, "nowhere_to_be_found:Theirs")
    assert "Theirs is declared by nowhere_to_be_found:Theirs, which cannot be imported" in run(READ, folder).stderr
