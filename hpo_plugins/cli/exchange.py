"""The command that imports results from elsewhere."""

from __future__ import annotations

import click

import hpo_plugins as hpo
from hpo_plugins.cli.common import say
from hpo_plugins.exchange import KINDS, import_studies
from hpo_plugins.storage.redact import redacted


@click.command("import", epilog="Example: hpo-plugins import optuna.db --to tuning.db")
@click.argument("source")
@click.option("--to", "target", required=True, help="The storage: a path or a URL, as in Tuner(storage=...).")
@click.option("--kind", type=click.Choice(KINDS), help="The kind of SOURCE; detected by default.")
@click.option("--minimize", "minimized", metavar="METRIC", help="The metric to minimize, for a table or MLflow.")
@click.option("--maximize", "maximized", metavar="METRIC", help="The metric to maximize, for a table or MLflow.")
@click.option("--metric", help="The objective's name, if SOURCE has its direction.")
@click.option("--study", help="Import only this study or experiment; all by default.")
@click.option("--name", "-n", help="The name of the imported study; that in SOURCE by default.")
@click.option("--param", "params", multiple=True, help="A column with a parameter; repeat the option for each.")
def import_(
    source: str,
    target: str,
    kind: str | None,
    minimized: str | None,
    maximized: str | None,
    metric: str | None,
    study: str | None,
    name: str | None,
    params: tuple[str, ...],
) -> None:
    """Import trials and curves from elsewhere.

    SOURCE is Optuna's SQLite file, journal or URL; a project folder of KerasTuner; a folder, file or URL of MLflow; or
    a table (CSV, JSON, Parquet), such as an export of Weights & Biases.
    """
    if minimized and maximized:
        raise click.UsageError("Give one of --minimize and --maximize.")
    objective = hpo.Minimize(minimized) if minimized else hpo.Maximize(maximized) if maximized else None
    found = import_studies(
        source, target, kind=kind, objective=objective, metric=metric, study=study, name=name, params=params,  # type: ignore[arg-type]  # click has checked it
    )  # fmt: skip
    for each in found:
        tuner = each.tuner
        say(f"Imported {tuner.name!r} to {redacted(target)}: {len(tuner.trials)} trials.")
        for remark in each.remarks:
            say(f"- {remark}")
