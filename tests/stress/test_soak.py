"""The soak, small: workers are killed while they search."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("pause", [[], ["--pause"]], ids=["crash", "crash and pause"])
def test_nothing_is_lost_and_nothing_counted_twice(pause):
    small = ["--processes", "4", "--trials", "24", "--epochs", "9", "--epoch-seconds", "0.05", "--kill-every", "0.7"]
    ended = subprocess.run([sys.executable, SOAK, *small, *pause], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Nothing was lost and nothing counted twice." in ended.stdout
    assert int(re.match(r"\d+", ended.stdout).group()) > 1
