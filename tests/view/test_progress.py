"""The progress of a running search: in a pseudo-terminal, in a pipe, and beside the training run's own output."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap

import pytest

import hpo_plugins as hpo
from hpo_plugins.view.notebook import as_html
from hpo_plugins.view.plain import plain_line
from hpo_plugins.view.screen import Screen

pyte = pytest.importorskip("pyte")


# The lines that can still change.


def written(*parts):
    emitted = []
    screen = Screen(emitted.append)
    for part in parts:
        screen.write(part)
    return emitted, screen.lines


def test_whole_lines_are_handed_on():
    assert written("one\ntwo\nth", "ree\n") == (["one", "two", "three"], [])
    assert written("no end") == ([], ["no end"])


def test_line_that_is_written_again_is_one_line():
    assert written("\r10 %", "\r50 %", "\r100 %\n", "done\n")[1] == ["100 %", "done"]
    assert written("abc", "\b\b\bxy")[1] == ["xyc"]  # as Keras returns to the start
    assert written("long text", "\r\x1b[Kshort")[1] == ["short"]


def test_bars_below_each_other_stay_in_their_lines():
    frame = "\rfirst {0}\n\rsecond {0}\x1b[A"
    emitted, lines = written(*(frame.format(n) for n in range(5)))
    assert (emitted, lines) == ([], ["first 4", "second 4"])


def test_lines_far_above_a_bar_are_handed_on():
    emitted, lines = written("\rbar 1\n", *(f"line {n}\n" for n in range(9)), "\rbar 2")
    assert emitted[:2] == ["bar 1", "line 0"]
    assert lines[-1] == "bar 2"


def test_flush_hands_on_what_is_left():
    emitted = []
    screen = Screen(emitted.append)
    screen.write("\rbar")
    screen.flush()
    assert (emitted, screen.lines) == (["bar"], [])


# The live view.

SEARCH = """
    import sys, threading
    import hpo_plugins as hpo
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Hyperband(max_resource=9), seed=0,
                      max_trials=12, name="demo")
    pause = threading.Event()
    for trial in tuner:
        print("my own line", trial.number)
        for epoch in range(1, 10):
            sys.stdout.write(f"\\rbar {epoch}/9 " + "=" * epoch)
            pause.wait(0.01)
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                break
        sys.stdout.write("\\n")
    print("the end")
"""


def in_a_terminal(script, columns, **variables):
    """Run a script in a pseudo-terminal; return all lines that were ever on its screen, as they were left."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(variables, TERM="xterm-256color")
        os.execv(sys.executable, [sys.executable, "-c", textwrap.dedent(script)])  # noqa: S606 - no shell is wanted
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    screen = pyte.HistoryScreen(columns, 40, history=5000)
    stream = pyte.ByteStream(screen)
    try:
        while data := os.read(terminal, 65536):
            stream.feed(data)
    except OSError:  # how a pseudo-terminal ends
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    above = ["".join(line[column].data for column in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in [*above, *screen.display] if line.strip()]


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
@pytest.mark.parametrize("columns", [80, 200])
def test_view_stands_below_all_that_the_training_prints(columns):
    lines = in_a_terminal(SEARCH, columns)
    text = "\n".join(lines)
    assert [int(n) for n in re.findall(r"^my own line (\d+)$", text, re.MULTILINE)] == list(range(12))
    ended = re.findall(r"^trial (\d+) (completed|stopped) after epoch \d+  [\d.]+  .+", text, re.MULTILINE)
    assert sorted(int(number) for number, _ in ended) == list(range(12))
    assert text.count("demo  12 of 12 trials") == 1  # one view is left, and no torn one
    assert len(re.findall(r"^demo ", text, re.MULTILINE)) == 1
    assert "best " in text
    assert "epochs trained" in text
    assert "rank" not in text  # the arithmetic is for the log
    assert lines[-1] == "the end"


FOREVER = """
    import threading
    import hpo_plugins as hpo
    tuner = hpo.Tuner({{"x": hpo.Continuous(0, 1)}}, hpo.Minimize("loss"), storage={storage!r}, name="demo")
    pause = threading.Event()
    def search():
        for trial in tuner:
            for epoch in range(1, 100_000):
                if trial.report(epoch, {{"loss": 1.0}}):
                    break
                pause.wait(0.01)
"""
IN_MAIN = "    search()\n"
IN_THREAD = """
    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
"""
WATCH = """
    import sys
    import hpo_plugins as hpo
    from hpo_plugins.cli.main import main
    hpo.Tuner({{"x": hpo.Continuous(0, 1)}}, hpo.Minimize("loss"), storage={storage!r}, name="demo")
    sys.argv = ["hpo-plugins", "watch", {storage!r}]
    main()
"""


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("script", [FOREVER + IN_MAIN, FOREVER + IN_THREAD, WATCH], ids=["main", "thread", "watch"])
def test_cursor_is_seen_after_a_signal(script, number, tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color")
        source = textwrap.dedent(script.format(storage=str(tmp_path / "a.db")))
        os.execv(sys.executable, [sys.executable, "-c", source])  # noqa: S606 - no shell is wanted
    screen, seen, is_told = pyte.Screen(80, 40), b"", False
    stream = pyte.ByteStream(screen)
    try:
        while data := os.read(terminal, 65536):
            stream.feed(data)
            seen += data
            if b"epochs trained" in seen and not is_told:  # the view is drawn
                is_told = True
                os.kill(child, number)
    except OSError:  # how a pseudo-terminal ends
        pass
    os.close(terminal)
    os.waitpid(child, 0)
    assert is_told, seen
    assert b"Traceback" not in seen
    assert not screen.cursor.hidden
    assert b"\x1b[?25l" not in seen  # not even for the time of a signal that nobody can handle


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
def test_view_can_be_turned_off():
    lines = in_a_terminal(SEARCH, 80, HPO_PLUGINS_PROGRESS="off")
    assert not any(line.startswith("demo") for line in lines)
    assert lines[-1] == "the end"


def test_pipe_gets_nothing_for_a_short_search(tmp_path):
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(SEARCH)], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert "demo" not in ended.stdout


@pytest.mark.parametrize("value", ["loud", 3, None])
def test_unknown_modes_are_named(value):
    with pytest.raises(hpo.InvalidArgument, match="progress must be 'auto', 'live', 'plain' or 'off', but got"):
        hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), progress=value)


def test_unknown_mode_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("HPO_PLUGINS_PROGRESS", "loud")
    with pytest.raises(hpo.InvalidArgument, match="HPO_PLUGINS_PROGRESS must be one of .*, but got 'loud'"):
        hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"))


def test_defect_of_a_view_ends_no_training(monkeypatch):
    from hpo_plugins.view import plain

    def broken(self, view, ended):
        raise ZeroDivisionError

    monkeypatch.setattr(plain.PlainDisplay, "delay", 0.0)
    monkeypatch.setattr(plain.PlainDisplay, "show", broken)
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, progress="plain")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    assert [t.state for t in tuner.trials] == [hpo.TrialState.COMPLETED] * 3


def test_every_study_has_a_line_and_a_notebook_view(edge):
    view = edge._view()
    assert plain_line(view).startswith(f"{view.name}: {len(view.trials)}")
    html = as_html(view, [trial for trial in view.trials if trial.state.is_final])
    assert "<script>" not in html


def test_every_study_can_be_shown_live(edge):
    console = pytest.importorskip("rich.console")
    from hpo_plugins.view.terminal import render

    for width in (40, 80, 200):
        out = console.Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - rich closes nothing
        with out.file:
            out.print(render(edge._view(), width))
            assert all(len(line) <= width for line in out.export_text().splitlines())
