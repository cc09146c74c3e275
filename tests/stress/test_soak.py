"""The soaks, small: workers are killed or told to end, and call whatever they may."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("pause", [[], ["--pause"]], ids=["crash", "crash and pause"])
def test_nothing_is_lost_and_nothing_counted_twice(pause):
    small = ["--processes", "4", "--trials", "24", "--epochs", "9", "--epoch-seconds", "0.05", "--kill-every", "0.7"]
    ended = subprocess.run([sys.executable, SOAK, *small, *pause], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Nothing was lost and nothing counted twice." in ended.stdout
    assert int(re.match(r"\d+", ended.stdout).group()) > 1


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_searches_that_are_told_to_end_can_be_continued():
    command = [sys.executable, SOAK.with_name("signals.py"), "--only", "loop,xgboost", "--instants", "8"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("kill", [[], ["--kill"]], ids=["undisturbed", "killed"])
def test_study_is_as_four_processes_were_told(kill):
    command = [sys.executable, SOAK.with_name("sequences.py"), "--calls", "100", *kill]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "The study is as it was acknowledged." in ended.stdout
