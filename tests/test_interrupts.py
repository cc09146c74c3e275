"""A Ctrl-C may come at any instant."""

import dis
import functools
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import hpo_plugins as hpo

PACKAGE = str(Path(hpo.__file__).parent)
SPACE = {"x": hpo.Continuous(0, 1), "kind": hpo.Categorical(["a", "b"])}
EPOCHS = 3


@functools.cache
def interruptible(code):
    """Offsets of the instructions before which CPython runs signal handlers: after a call, and at a function's start.

    Not at the end of a ``with``: there, CPython runs them inside the block, and a trace function outside of it.
    """
    bytecode = dis.Bytecode(code)
    instructions = list(bytecode)

    def handler(instruction):
        return next((e.target for e in bytecode.exception_entries if e.start <= instruction.offset < e.end), None)

    return {
        after.offset
        for before, after in itertools.pairwise(instructions)
        if before.opname.startswith(("CALL", "RESUME")) and handler(before) == handler(after)
    }


class Interrupt:
    """Raises KeyboardInterrupt at one of the instants in the library at which a Ctrl-C can arrive."""

    def __init__(self, instant):
        self.instant = instant
        self.seen = 0

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in interruptible(frame.f_code):
            self.seen += 1
            if self.seen == self.instant:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def search(tuner, interrupt=None):
    """Train; the report of trial 0's second epoch may be interrupted."""
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            metrics = {"loss": trial["x"] + 1 / epoch}
            if interrupt is not None and (trial.number, epoch) == (0, 2):
                with interrupt:
                    stop = trial.report(epoch, metrics)
            else:
                stop = trial.report(epoch, metrics)
            if stop:
                break
    return [(t.params, t.state, t.value, t.curve, dict(t.metrics)) for t in tuner.trials]


def make_tuner(**arguments):
    strategy = hpo.Hyperband(max_resource=EPOCHS, search="random")
    return hpo.Tuner(SPACE, hpo.Minimize("loss", at="last"), strategy=strategy, max_trials=4, seed=0, **arguments)


@pytest.mark.slow
def test_interrupted_report_leaves_the_study_whole():
    whole = search(make_tuner())
    instant = 1
    while True:
        tuner, interrupt = make_tuner(), Interrupt(instant)
        try:
            search(tuner, interrupt)
        except KeyboardInterrupt:
            assert search(tuner) == whole, f"interrupted at instant {instant}"
            instant += 1
        else:
            break
    assert instant > 100  # it was interrupted that often


def test_loop_left_open_at_exit_is_silent(tmp_path):
    script = """import sys, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=sys.argv[1] if sys.argv[1:] else None)
loop = iter(tuner)
trial = next(loop)
trial.report(1, {"loss": 1.0})"""
    for arguments in ([], [tmp_path / "study.db"]):
        ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert hpo.Tuner.load(tmp_path / "study.db").ask().number == 0  # released at exit
