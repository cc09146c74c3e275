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


def is_users(frame):
    """Whether a frame has done nothing of the library yet: an interrupt there is one of the user's own code."""
    is_called_by_user = not frame.f_back.f_code.co_filename.startswith(PACKAGE)
    return is_called_by_user and (frame.f_code.co_name == "__getitem__" or frame.f_lasti <= 4)


def in_finalizer(frame):
    while frame is not None and not frame.f_code.co_filename.endswith("weakref.py"):
        frame = frame.f_back
    return frame is not None


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
        if event == "opcode" and frame.f_lasti in interruptible(frame.f_code) and not is_users(frame):
            self.seen += 1
            if self.seen == self.instant and not in_finalizer(frame):  # there, Python drops it
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


def finish(tuner):
    """Train what is left without waiting: nothing may be held by nobody."""
    while not tuner.done:
        if (trial := tuner.ask()) is None:
            assert tuner.done, "a trial is neither trained nor handed out"
            break
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                break
        trial.end()
    return [(t.params, t.state, t.value, t.curve, dict(t.metrics)) for t in tuner.trials]


def one_turn(tuner):
    trial = tuner.ask()
    for epoch in range(1, EPOCHS + 1):
        if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
            break
    trial.end()


def one_loop(tuner):
    for trial in tuner:
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                break


@pytest.mark.parametrize("train", [one_turn, one_loop])
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_after_any_interrupt_the_same_process_and_the_next_go_on(storage, train, tmp_path):
    """Each 67th of 900 to 5,600 instants; with 1 instead of 67, all of them."""
    whole = finish(make_tuner())
    for instant in itertools.count(1, 67):
        path = None if storage == "memory" else tmp_path / f"{instant}.db"
        tuner, interrupt = make_tuner(storage=path), Interrupt(instant)
        try:
            with interrupt:
                train(tuner)
        except KeyboardInterrupt:
            goes_on = tuner if path is None or instant % 2 else make_tuner(storage=path)
            assert finish(goes_on) == whole, f"interrupted at instant {instant}"
        else:
            if interrupt.seen < instant:
                break
    assert instant > 500


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
