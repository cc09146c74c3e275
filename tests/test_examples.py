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
PLAIN = sorted((ROOT / "examples" / "plain").glob("*.py"))
NEEDS = {path.stem: path.stem for path in (ROOT / "integrations").glob("[!_]*.py")}
NEEDS |= {"trackers": "tensorboard", "flax": "flax", "torch": "torch", "transformers_lora": "peft"}
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}


def run(arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


LONG = {"keras_fine_tuning", "keras_folds", "lightning_ddp", "lightning_digits", "trackers"}
LONG |= {"transformers_lora", "transformers_text", "torch_mixed_precision", "flax_loop"}
LONG |= {
    "keras_digits",
    "workers_xgboost",
    "two_processes",
    "sklearn_pipeline",
    "sagemaker_request",
    "xgboost_sklearn_grid",
}


def need(script):
    for prefix, module in NEEDS.items():
        if script.stem.startswith(prefix):
            pytest.importorskip(module, exc_type=ImportError)


def parameters(paths):
    return [pytest.param(path, marks=[pytest.mark.full] * (path.stem in LONG), id=path.stem) for path in paths]


@pytest.mark.parametrize("example", parameters(EXAMPLES))
def test_example_runs_to_its_summary(example, tmp_path):
    need(example)
    ended = run([example], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert re.search(r"is complete .*: (\d+) of \1 trials", ended.stdout)
    assert "Best: trial" in ended.stdout


@pytest.mark.parametrize("script", parameters(PLAIN))
def test_script_without_tuning_runs(script, tmp_path):
    need(script)
    ended = run([script], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "hpo_plugins" not in script.read_text()


@pytest.mark.parametrize("script", PLAIN, ids=lambda path: path.stem)
def test_tuned_example_keeps_its_script(script):
    """The tuned example is the plain script with lines added: few of its lines are changed."""
    plain, tuned = script.read_text().splitlines(), (ROOT / "examples" / script.name).read_text().splitlines()
    kept = {line.strip() for line in tuned}
    lost = [line for line in plain[plain.index("def main() -> None:") :] if line.strip() not in kept]
    assert len(lost) <= 12, lost
    page = (ROOT / "docs" / "examples.md").read_text()
    assert f"_build/{script.stem}.diff\n" in page


@pytest.mark.full
def test_notebook_runs_from_top_to_bottom_and_tuning_helps(tmp_path):
    pytest.importorskip("lightgbm")
    nbconvert = pytest.importorskip("nbconvert")
    notebook = ROOT / "examples" / "lightgbm_tabular.ipynb"
    ended = run(["-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", tmp_path, notebook], tmp_path)
    assert ended.returncode == 0, (nbconvert.__version__, ended.stderr[-2000:])
    printed = (tmp_path / notebook.name).read_text()
    tuned, untuned = re.search(r"RMSE over the folds: ([\d.]+) \(untuned ([\d.]+)\)", printed).groups()
    assert float(tuned) < float(untuned)  # the untuned configuration is the first trial


@pytest.mark.skipif(sys.platform == "win32", reason="a script for bash")
@pytest.mark.process
def test_jobs_of_a_slurm_array_share_the_search(tmp_path):
    """``srun`` starts what follows it; here a script does, as there is no cluster."""
    for name, line in (("srun", 'exec "$@"'), ("python", f'exec "{sys.executable}" "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    page = (ROOT / "docs" / "guides" / "slurm.md").read_text()
    script = tmp_path / "train.py"
    script.write_text(re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1])
    environment = ENVIRONMENT | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TUNING_SCRIPT": str(script)}
    command = ["bash", ROOT / "examples" / "slurm_array.sh"]
    jobs = [subprocess.Popen(command, cwd=tmp_path, env=environment) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0]
    assert len(hpo.Tuner.load(tmp_path / "tuning.db").trials) == 20  # max_trials of both together


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


def sides(diff):
    """Return the script before and after a diff."""
    lines = diff.splitlines()
    return ["\n".join(line[1:] for line in lines if not line.startswith(sign)) for sign in "+-"]


@pytest.mark.parametrize("side", [0, 1], ids=["before", "after"])
def test_readme_code_runs(side, tmp_path):
    pytest.importorskip("xgboost")
    (diff,) = blocks("diff")
    script = tmp_path / "readme.py"
    script.write_text(sides(diff)[side])
    ended = run([script], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ("Best: trial" in ended.stdout) == bool(side)
