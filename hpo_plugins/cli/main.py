"""The commands of ``hpo-plugins``.

Every command takes the path or URL of a storage, as ``Tuner(storage=)`` does, and works while training runs write to
it.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import click

import hpo_plugins as hpo
from hpo_plugins._text import printable, printable_json
from hpo_plugins.cli import exchange, storages
from hpo_plugins.cli.common import NAME, STORAGE, say, view_of
from hpo_plugins.cli.serve import serve
from hpo_plugins.exchange import export_optuna
from hpo_plugins.records import expected_text
from hpo_plugins.view import insights, words
from hpo_plugins.view.plots import KINDS
from hpo_plugins.view.tables import as_csv, curve_rows, trial_rows


class Commands(click.Group):
    """Shows this library's errors as one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except hpo.HpoError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hpo-plugins")
def main() -> None:
    """Look at studies that are stored in a SQLite file or a database.

    STORAGE is a path or a URL, as in Tuner(storage=...). For completion in bash, add this to ~/.bashrc:

        eval "$(_HPO_PLUGINS_COMPLETE=bash_source hpo-plugins)"
    """


def _json(data: object) -> str:
    return printable_json(json.dumps(data, indent=2, ensure_ascii=False))


def _table(rows: list[list[object]], head: list[str]) -> str:
    """Return rows as aligned columns."""
    return words.table([head, *([str(cell) for cell in row] for row in rows)])


@main.command(epilog="Example: hpo-plugins show tuning.db --name churn")
@STORAGE
@NAME
def show(storage: str, name: str | None) -> None:
    """Show a study's results, how certain they are, and what to change."""
    tuner = hpo.Tuner.load(storage, name)
    say(summary := tuner.summary())
    for text in insights.advice(tuner._view()):  # noqa: SLF001 - the read model of this package
        if text not in summary:
            say(f"- {text}")


@main.command(epilog="Example: hpo-plugins best tuning.db --format json > params.json")
@STORAGE
@NAME
@click.option("--format", "form", type=click.Choice(["text", "json", "python"]), default="text", show_default=True)
@click.option(
    "--weights", metavar="METRIC=NUMBER,...", help="The weight of each of several objectives; the knee by default."
)
def best(storage: str, name: str | None, form: str, weights: str | None) -> None:
    """Print the best configuration. With several objectives, --weights choose it from the Pareto front."""
    record = hpo.Tuner.load(storage, name).best(None if weights is None else _weights(weights))
    if form == "json":
        say(_json(record.params))
    elif form == "python":
        say(repr(record.params))
    else:
        again = expected_text(record)
        say(f"trial {record.number}: {record.value:.6g}" + (f", {again} expected if trained again" if again else ""))
        for metric, number in record.values.items():
            say(f"  {printable(metric)}: {number:.6g}")
        for parameter, value in record.params.items():
            say(f"  {printable(parameter)} = {value!r}")


def _weights(text: str) -> dict[str, float]:
    """Return weights by metric; a metric may contain an equals sign or a comma.

    Raises:
        BadParameter: A weight is no number.
    """
    found: dict[str, float] = {}
    rest = ""
    for part in text.split(","):
        rest += part
        metric, equals, number = rest.rpartition("=")
        try:
            found[metric.strip()] = float(number)
        except ValueError:
            rest += ","
            continue
        if not equals:
            break
        rest = ""
    if rest or not found:
        raise click.BadParameter(f"must be METRIC=NUMBER,..., such as val_loss=1,latency_ms=0.2, but got {text!r}.")
    return found


@main.command(epilog="Example: hpo-plugins trials tuning.db --top 10")
@STORAGE
@NAME
@click.option("--top", type=click.IntRange(1), help="List only this many trials, the best first.")
@click.option(
    "--state", type=click.Choice([state.value for state in hpo.TrialState]), help="List only trials in this state."
)
def trials(storage: str, name: str | None, top: int | None, state: str | None) -> None:
    """List trials with their configurations and the reasons why they ended."""
    view = view_of(storage, name)
    chosen = view.ranked[:top] if top else list(view.trials)
    further = [] if view.goals is None else [metric for metric in view.goals.metrics if metric != view.objective.metric]
    rows: list[list[object]] = [
        [
            t.number,
            t.state.value,
            "" if t.value is None else f"{t.value:.6g}",
            *(f"{t.values[metric]:.6g}" if metric in t.values else "" for metric in further),
            t.epochs,
            words.configuration(t.params),
            words.why(t),
        ]
        for t in chosen
        if state is None or t.state.value == state
    ]
    head = ["trial", "state", view.objective.metric, *further, "epochs", "configuration", "why"]
    say(_table(rows, head) if rows else "No trials.")


@main.command(epilog="Example: hpo-plugins export tuning.db --format parquet -o trials.parquet")
@STORAGE
@NAME
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet", "sagemaker", "optuna"]),
    help="By default the ending of --output, if it is .json or .parquet, otherwise csv.",
)
@click.option("--curves", is_flag=True, help="Write one row per epoch instead of one per trial.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    default="-",
    help="The file to write; standard output by default.",
)
def export(storage: str, name: str | None, form: str | None, output: str, *, curves: bool) -> None:
    """Export trials or curves as a table, the study as a SageMaker request, or both as an Optuna study."""
    ending = Path(output).suffix.removeprefix(".")
    form = form or (ending if ending in ("json", "parquet") else "csv")
    tuner = hpo.Tuner.load(storage, name)
    view = tuner._view()  # noqa: SLF001 - as above
    rows = curve_rows(view) if curves else trial_rows(view)
    if form == "optuna":
        if output == "-":
            raise click.UsageError("--format optuna needs --output FILE.")
        for remark in export_optuna(tuner, output):
            say(f"- {remark}")
        return
    if form == "parquet":
        if output == "-":
            raise click.UsageError("--format parquet needs --output FILE.")
        (tuner.curves_dataframe() if curves else tuner.to_dataframe()).to_parquet(output)
        return
    if form == "sagemaker":
        text = _json(hpo.sagemaker.request_from_tuner(tuner, job_name=view.name))
    elif form == "json":
        text = _json(rows)
    else:
        text = as_csv(rows)
    if output == "-":
        say(text)
    else:
        Path(output).write_text(text + "\n", encoding="utf-8")


@main.command(epilog="Example: hpo-plugins report tuning.db -o report.html")
@STORAGE
@NAME
@click.option("--output", "-o", type=click.Path(dir_okay=False), default="report.html", show_default=True)
def report(storage: str, name: str | None, output: str) -> None:
    """Write a report: one HTML file that needs no network."""
    hpo.Tuner.load(storage, name).to_html(output)
    say(f"Wrote {output}.")


@main.command(epilog="Example: hpo-plugins plot curves tuning.db -o curves.pdf")
@click.argument("kind", type=click.Choice(KINDS))
@STORAGE
@NAME
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), help="A .png, .pdf, .svg or .html file; KIND.png by default."
)
def plot(kind: str, storage: str, name: str | None, output: str | None) -> None:
    """Draw a figure."""
    output = output or f"{kind}.png"
    plots = hpo.Tuner.load(storage, name).plot
    if output.endswith(".html"):
        getattr(plots.interactive, kind)().write_html(output)
        say(f"Wrote {output}.")
    else:
        _save(getattr(plots, kind)(), output)


def _save(figure: Any, output: str) -> None:
    """Write a figure.

    Raises:
        ClickException: The format is not known.
    """
    try:
        figure.savefig(output, dpi=200)
    except ValueError as error:
        raise click.ClickException(
            f"--output must be a .png, .pdf, .svg or .html file, but got {output}: {error}"
        ) from error
    say(f"Wrote {output}.")


@main.command(
    epilog="Example: hpo-plugins simulate tuning.db --workers 1 --workers 4 --max-trials 60 -o simulation.png"
)
@STORAGE
@NAME
@click.option(
    "--workers", type=click.IntRange(1), multiple=True, default=(1,), help="Repeat the option to compare several."
)
@click.option("--max-trials", type=click.IntRange(1), help="Trials per search; the study's number by default.")
@click.option("--budget", type=float, help="Seconds per search; epochs if those are too short to time.")
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="The number of sampled tasks to search on."
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), help="Also draw the result to a .png, .pdf or .svg file."
)
def simulate(
    storage: str,
    name: str | None,
    workers: tuple[int, ...],
    max_trials: int | None,
    budget: float | None,
    repeats: int,
    output: str | None,
) -> None:
    """Predict what new searches on a study's task would find, for each strategy, before you pay for them."""
    simulation = hpo.simulate(
        storage, name=name, workers=workers, max_trials=max_trials, budget=budget, repeats=repeats
    )
    say(simulation)
    if output is not None:
        _save(simulation.plot(), output)


@main.command(epilog="Example: hpo-plugins watch tuning.db")
@STORAGE
@NAME
def watch(storage: str, name: str | None) -> None:
    """Watch a study until it is over. Ctrl-C ends this command only."""
    from hpo_plugins.view.plain import plain_line
    from hpo_plugins.view.progress import Progress, check_mode

    tuner = hpo.Tuner.load(storage, name)
    progress = Progress(tuner._view, check_mode("auto"))  # noqa: SLF001 - as above
    over = threading.Event()
    progress.begin()
    try:
        while not tuner.done:
            over.wait(1.0)
    except KeyboardInterrupt:
        pass
    finally:
        progress.end()
    if not sys.stderr.isatty():
        say(plain_line(tuner._view()))  # noqa: SLF001 - as above


@main.command(epilog="Example: hpo-plugins dashboard tuning.db --allow-actions")
@STORAGE
@NAME
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address shows the page to the network.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Any free port by default.")
@click.option("--root-path", default="", help="The path under which a proxy shows the page, such as /tuning.")
@click.option(
    "--allowed-host", "hosts", multiple=True, help="A further name of this server, such as a proxy's. Repeatable."
)
@click.option("--allow-actions", is_flag=True, help="Whoever has the address may stop trials and change studies.")
def dashboard(
    storage: str,
    name: str | None,
    host: str,
    port: int,
    root_path: str,
    hosts: tuple[str, ...],
    *,
    allow_actions: bool,
) -> None:
    """Serve a page of the studies, always up to date, until Ctrl-C. It can only be read unless you allow actions."""
    from hpo_plugins.page import page_server

    if name is not None:
        hpo.Tuner.load(storage, name)  # a name that is wrong is an error here
    server = page_server(
        storage, host=host, port=port, root=root_path, study=name, hosts=hosts, allow_actions=allow_actions
    )
    say(f"{server.url}\nCtrl-C ends the dashboard.")
    server.run()


for command in (*storages.COMMANDS, exchange.import_, serve):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
