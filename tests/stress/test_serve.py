"""The server's stress scripts, small."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces")
def test_nothing_is_lost_while_hosts_and_the_server_are_killed():
    small = ["--hosts", "2", "--workers", "4", "--seconds", "25", "--kill-every", "4", "--kill-server-every", "8"]
    ended = subprocess.run(
        [sys.executable, HERE / "serve_cluster.py", *small], capture_output=True, text=True, check=False
    )
    if ended.returncode == 77:
        pytest.skip(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Nothing was lost and nothing counted twice." in ended.stdout


@pytest.mark.full
def test_reports_are_measured():
    small = ["--clients", "4", "--processes", "2", "--seconds", "2", "--only", "ours"]
    ended = subprocess.run(
        [sys.executable, HERE / "serve_reports.py", *small], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "reports a second" in ended.stdout
