"""A study file from a stranger: its names, values and errors are shown as text, everywhere."""

import ast
import csv
import io
import json
import logging
import re
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
import hpo_plugins.cli
from hpo_plugins._text import PrintableRecords, printable, printable_json
from hpo_plugins.cli.main import main
from hpo_plugins.view import notebook, plain, tables
from hpo_plugins.view.plots import KINDS
from hpo_plugins.view.report import report

ROOT = Path(hpo_plugins.__file__).parent
ESCAPES = "\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x7f"
SHOWN = r"\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x7f"
FORMULA = "=cmd|'/c calc'!A1"


def unsafe(text):
    """The characters of a text that can control what shows it."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} | set(
        re.findall("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]", text)
    )


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    path = tmp_path_factory.mktemp("stranger") / "a.db"
    space = {
        f"p{ESCAPES}\n": hpo.Categorical([ESCAPES, FORMULA, "[red]x[/red]"]), "[red]": hpo.Continuous(0, 1),
        FORMULA: hpo.Continuous(-1, 0),
    }  # fmt: skip
    tuner = hpo.Tuner(
        space, hpo.Minimize(f"loss{ESCAPES}"), storage=path, name=f"s{ESCAPES}[bold]\nfake line", max_trials=12, seed=0
    )
    for number in range(12):
        trial = tuner.ask()
        trial.report(1, {f"loss{ESCAPES}": 1 / (number + 1), FORMULA: 1.0})
        trial.fail(f"error {ESCAPES}[red]\nsecond line") if number % 4 == 1 else trial.end()
    return tuner, str(path)


def test_printable_is_the_text_itself_or_its_literal():
    assert printable(ESCAPES) == SHOWN
    assert printable("a\tb\nc") == r"a\tb\nc"
    assert printable("a\tb\nc\x1b", lines=True) == "a\tb\nc\\x1b"
    assert printable("\ud800") == r"\ud800"
    for text in ("学习率", "معدل", "👩‍💻 é", "plain", r"\x1b"):
        assert printable(text) == text


def test_printable_json_is_the_same_data():
    data = {f"a{ESCAPES}": [ESCAPES, "\U000e0041", "é\n"]}
    text = printable_json(json.dumps(data, indent=1, ensure_ascii=False))
    assert unsafe(text) == set()
    assert json.loads(text) == data


COMMANDS = [
    ["list"], ["show"], ["trials"], ["best"], ["best", "--format", "json"], ["best", "--format", "python"], ["doctor"],
    ["export"], ["export", "--curves"], ["export", "--format", "json"], ["export", "--format", "json", "--curves"],
    ["export", "--format", "sagemaker"], ["watch"], ["show", "--name", f"no{ESCAPES}"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_an_escape(command, stranger):
    ended = CliRunner().invoke(main, [command[0], stranger[1], *command[1:]])
    assert unsafe(ended.output) == set()
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.output
    assert "]52;c;" in ended.output  # shown, not dropped


def test_table_of_studies_has_one_line_each(stranger):
    lines = CliRunner().invoke(main, ["list", stranger[1]]).output.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"s{SHOWN}[bold]\\nfake line")


def test_all_commands_print_through_one_function():
    for path in Path(hpo_plugins.cli.__file__).parent.glob("*.py"):
        calls = re.findall(r"click\.s?echo|print\(", path.read_text().replace("_print(", ""))
        assert calls == (["click.echo"] if path.name == "common.py" else []), path.name


def test_views_show_escapes_and_markup_as_text(stranger):
    console = pytest.importorskip("rich.console")
    from hpo_plugins.view.terminal import render

    view = stranger[0]._view()
    out = console.Console(width=400, file=io.StringIO(), color_system=None)
    out.print(render(view, 400))
    ended = [trial for trial in view.trials if trial.state.is_final]
    shown = {
        "rich": out.file.getvalue(),
        "plain": plain.plain_line(view),
        "notebook": notebook.as_html(view, ended) + notebook.as_table(view),
        "record": view.trials[1]._repr_html_() + repr(view.trials[1]),
        "studies": hpo.studies(stranger[1])._repr_html_() + repr(hpo.studies(stranger[1])),
        "summary": stranger[0].summary(),
        "report": report(view),
    }
    assert {name: unsafe(text) for name, text in shown.items()} == {name: set() for name in shown}
    assert all(SHOWN in text.replace(r"\\", "\\") for text in shown.values())
    assert "[red]" in shown["rich"]
    assert "[bold]" in shown["rich"]


def test_figures_show_escapes_as_text(stranger):
    figure = stranger[0].plot.slice()
    assert [unsafe(axes.get_xlabel()) for axes in figure.axes] == [set()] * len(figure.axes)
    assert unsafe(json.dumps(stranger[0].plot.interactive.slice().to_dict(), ensure_ascii=False)) == set()


def test_interactive_figures_show_their_markup_as_text():
    name = "<b>$x_1$</b> %{x}"
    tuner = hpo.Tuner({name: hpo.Categorical([name, "z"])}, hpo.Minimize(name), strategy=hpo.Grid(), name=name)
    for trial in tuner:
        trial.report(1, {name: 1.0})
    plots = tuner.plot.interactive
    for kind in KINDS:
        texts = json.dumps(getattr(plots, kind)().to_dict())
        assert not re.search(r"<b>|[$]|%[{]x[}]</b|%[{]x[}] =", texts), kind
    (trace,) = plots.curves().data[:1]
    assert trace.hovertemplate.count("%{x}") == 1  # the figure's own


def test_errors_show_escapes_as_text(stranger):
    with pytest.raises(hpo.StudyNotFound) as caught:
        hpo.Tuner.load(stranger[1], "another")
    assert unsafe(str(caught.value)) == set()
    assert str(hpo.StorageError(f"a{ESCAPES}\nb")) == f"a{SHOWN}\nb"
    assert str(hpo.MissingDependency(f"a{ESCAPES}", name="x")) == f"a{SHOWN}"


# Logs.


def logged(message, *args, **kwargs):
    """What a handler of an application writes of a message of the package."""
    stream, logger = io.StringIO(), logging.getLogger("hpo_plugins")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.warning(message, *args, **kwargs)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


def test_log_shows_escapes_as_text():
    assert logged("trial %d: %s, %s", 3, ESCAPES, ValueError(ESCAPES)) == f"WARNING trial 3: {SHOWN}, {SHOWN}\n"
    assert logged(f"all of it {ESCAPES} 100%") == f"WARNING all of it {SHOWN} 100%\n"
    assert logged("%(name)s", {"name": ESCAPES}) == f"WARNING {SHOWN}\n"


def test_log_line_cannot_be_forged():
    assert logged("failed: %s", "x\nERROR all data is lost") == "WARNING failed: x\n    ERROR all data is lost\n"


def test_traceback_in_the_log_shows_escapes_as_text():
    try:
        raise ValueError(ESCAPES)
    except ValueError:
        text = logged("it failed", exc_info=True)
    assert unsafe(text) == set()
    assert f"ValueError: {SHOWN}" in text


def test_arguments_that_are_printable_stay_objects():
    error = ValueError("plain")
    record = logging.LogRecord("hpo_plugins", 30, "", 1, "%d %s %.1f", (1, error, 0.5), None)
    assert PrintableRecords().filter(record)
    assert record.args == (1, error, 0.5)


def test_argument_that_cannot_be_shown_raises_nothing():
    class Broken:
        def __str__(self):
            raise ZeroDivisionError

    record = logging.LogRecord("hpo_plugins", 30, "", 1, "%s", (Broken(),), None)
    assert PrintableRecords().filter(record)


def test_package_has_one_logger():
    """The filter is on one logger: those below it would pass it by."""
    integrations = ROOT.parent / "integrations"
    for path in [*ROOT.rglob("*.py"), *integrations.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                assert [ast.unparse(a) for a in node.args] in (["'hpo_plugins'"], ["name"], []), path


# Spreadsheets.


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_text_that_would_be_a_formula_has_an_apostrophe(text):
    header, row = csv.reader(io.StringIO(tables.as_csv([{text: text, "number": -1.5}])))
    assert header == [printable(f"'{text}", lines=True), "number"]
    assert row == [printable(f"'{text}", lines=True), "-1.5"]


def test_other_cells_are_themselves():
    rows = [{"a": -1, "b": 1e-300, "c": None, "d": "a = b", "e": True}, {"a": 2, "f": "two\nlines"}]
    assert list(csv.DictReader(io.StringIO(tables.as_csv(rows)))) == [
        {"a": "-1", "b": "1e-300", "c": "", "d": "a = b", "e": "True", "f": ""},
        {"a": "2", "b": "", "c": "", "d": "", "e": "", "f": "two\nlines"},
    ]


def test_export_has_no_formula(stranger):
    for options in ([], ["--curves"]):
        output = CliRunner().invoke(main, ["export", stranger[1], *options]).output
        cells = [cell for row in csv.reader(io.StringIO(output)) for cell in row]
        assert [cell for cell in cells if cell.startswith(tables.FORMULA) and not _is_number(cell)] == []
        assert any(cell == f"'{FORMULA}" for cell in cells)


def _is_number(cell):
    try:
        return isinstance(float(cell), float)
    except ValueError:
        return False


# The report.


@pytest.mark.parametrize("text", ["{{DATA}}", "{{PLOTLY}}", "{{TITLE}}", "{{data}}", "</script><script>", "\\1 \\g<0>"])
def test_placeholders_in_names_and_values_are_text(text):
    tuner = hpo.Tuner(
        {text: hpo.Categorical([text, "z"])}, hpo.Minimize(f"loss {text}"), strategy=hpo.Grid(), name=text
    )
    for trial in tuner:
        trial.report(1, {f"loss {text}": 1.0})
    page = report(tuner._view())
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    content = json.loads(data)
    assert content["name"] == text
    assert content["columns"][4] == text
    assert {row[4] for row in content["rows"]} == {text, "z"}
    assert page.count('id="plotly"') == 1
    assert len(re.search(r'id="plotly">(.*?)</script>', page)[1]) > 100_000
    assert page.count("<script") == 3
