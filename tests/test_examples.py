"""Every example runs as a user would run it, and the README's code does what it says."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hpo_plugins as hpo

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {path.stem: path.stem for path in (ROOT / "integrations").glob("[!_]*.py")} | {"trackers": "tensorboard"}
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}


def run(arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


LONG = {"keras_fine_tuning", "keras_folds", "lightning_digits", "transformers_text", "trackers"}


@pytest.mark.parametrize(
    "example",
    [pytest.param(path, marks=[pytest.mark.full] * (path.stem in LONG), id=path.stem) for path in EXAMPLES],
)
def test_example_runs_to_its_summary(example, tmp_path):
    for prefix, module in NEEDS.items():
        if example.stem.startswith(prefix):
            pytest.importorskip(module)
    ended = run([example], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert re.search(r"is complete .*: (\d+) of \1 trials", ended.stdout)
    assert "Best: trial" in ended.stdout


def has_trials(path, count):
    try:
        return len(hpo.Tuner.load(path).trials) >= count
    except hpo.StorageError:  # not there yet
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_main_example_resumes_after_an_interrupt(tmp_path):
    pytest.importorskip("xgboost")
    example = ROOT / "examples" / "xgboost_digits.py"
    process = subprocess.Popen(
        [sys.executable, example],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not has_trials(tmp_path / "tuning.db", 7):
        assert process.poll() is None
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    before = hpo.Tuner.load(tmp_path / "tuning.db").trials
    assert 7 <= len(before) < 60
    assert not any(t.state is hpo.TrialState.FAILED for t in before)

    ended = run([example], tmp_path)
    assert "complete (max_trials=60 have been started): 60 of 60" in ended.stdout
    assert "nothing is left to train" not in ended.stdout
    after = hpo.Tuner.load(tmp_path / "tuning.db").trials
    assert [t.params for t in after[: len(before)]] == [t.params for t in before]
    assert [t.number for t in after] == list(range(60))

    again = run([example], tmp_path)
    assert "This study is complete: nothing is left to train." in again.stdout
    assert not again.stderr


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_readme_has_one_block_of_two_commands():
    (block,) = blocks("sh")
    assert len(block.strip().splitlines()) == 2


def test_readme_code_runs(tmp_path):
    """All Python of the README, from top to bottom, as one script."""
    pytest.importorskip("xgboost")
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")))
    ended = run([script], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
