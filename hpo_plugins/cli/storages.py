"""The commands about the studies of a storage: what there is, copying, renaming, deleting, checking."""

from __future__ import annotations

import importlib.metadata
import platform

import click

import hpo_plugins as hpo
from hpo_plugins._text import printable
from hpo_plugins.cli.common import FORCE, NAME, STORAGE, say, view_of
from hpo_plugins.cli.packages import packages
from hpo_plugins.coordination.opening import existing_storage
from hpo_plugins.storage.redact import redacted
from hpo_plugins.tuner.studies import Study
from hpo_plugins.view import words


@click.command("list", epilog="Example: hpo-plugins list tuning.db")
@STORAGE
def list_(storage: str) -> None:
    """List the studies of a storage."""
    rows, damages = [["study", "trials", "state", "objective", "best"]], []
    for name in hpo.studies(storage):
        try:
            view = view_of(storage, name)
        except hpo.StorageError as error:  # the others can be read
            rows.append([name, "", "damaged", "", ""])
            damages.append(str(error))
            continue
        best = "" if view.best is None else f"{view.best.value:.6g}"
        of = "" if view.limit is None else f"/{view.limit}"
        rows.append([name, f"{len(view.trials)}{of}", "done" if view.is_done else "open", view.objective.metric, best])
    say(words.table(rows) if len(rows) > 1 else "The storage holds no study.")
    for damage in damages:
        say(damage, err=True)


def _study(storage: str, name: str | None) -> Study:
    """Return a study to copy, rename or delete; None is the only one of its storage."""
    found = hpo.studies(storage)
    if name is not None and name in found:  # not loaded: a study with a damaged definition can be deleted
        return found[name]
    return found[hpo.Tuner.load(storage, name).name]


@click.command(epilog="Example: hpo-plugins copy tuning.db archive.db --name churn")
@STORAGE
@click.argument("target", metavar="TARGET")
@NAME
@click.option("--as", "new_name", help="The name of the copy; the study's own by default.")
@FORCE
def copy(storage: str, target: str, name: str | None, new_name: str | None, *, force: bool) -> None:
    """Copy a study with its checkpoints, to another storage or to another name in the same one."""
    study = _study(storage, name)
    copied = study.copy(target, name=new_name, force=force)
    say(f"Copied {study.name!r} to {copied.name!r} in {redacted(target)}.")


@click.command(epilog="Example: hpo-plugins rename tuning.db churn churn-v1")
@STORAGE
@click.argument("name")
@click.argument("new_name")
@FORCE
def rename(storage: str, name: str, new_name: str, *, force: bool) -> None:
    """Rename a study."""
    _study(storage, name).rename(new_name, force=force)
    say(f"Renamed {name!r} to {new_name!r}.")


@click.command(epilog="Example: hpo-plugins delete tuning.db --name churn")
@STORAGE
@click.option("--name", "-n", required=True, help="The study.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@FORCE
def delete(storage: str, name: str, *, yes: bool, force: bool) -> None:
    """Delete a study with its trials, its reports and the checkpoints beside the storage."""
    study = _study(storage, name)
    if not yes:
        click.confirm(f"Delete {name!r} with {study.n_trials} trials from {redacted(storage)}?", abort=True)
    study.delete(force=force)
    say(f"Deleted {name!r}.")


@click.command(epilog="Example: hpo-plugins migrate --dry-run tuning.db")
@STORAGE
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def migrate(storage: str, *, dry_run: bool) -> None:
    """Bring a storage of an older version to the current format.

    The first write to a storage does the same. A SQLite file is copied before; make a backup of a server's database.
    """
    from hpo_plugins.storage import migration  # imported here: SQLAlchemy is slow to import
    from hpo_plugins.storage.sql import SqlStorage

    found, shown = existing_storage(storage), redacted(storage)
    if not isinstance(found, SqlStorage):
        raise hpo.InvalidArgument(f"{shown} is no file or database: run this where the server runs, with its storage.")
    plan = found.database.read(migration.plan)
    if not plan.steps:
        say(f"{shown} has format {plan.version}, the current one: there is nothing to do.")
        return
    say(f"{shown} has format {plan.version}.")
    for step in plan.steps:
        say(f"  {step}")
    if plan.copy is None:
        say("  All in one transaction. No copy is made: make a backup of the database first, such as with pg_dump.")
    else:
        say(f"  Before that, the file is copied to {plan.copy}.")
    if dry_run:
        return
    found.database.write(lambda _: None)
    say("Done.")


@click.command(epilog="Example: hpo-plugins doctor tuning.db")
@click.argument("storage", required=False)
def doctor(storage: str | None) -> None:
    """Check a storage, and print the versions that a bug report needs."""
    say(f"Python {platform.python_version()} on {platform.platform()}")
    for package in packages():
        try:
            say(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            say(f"{package} is not installed")
    if storage is None:
        return
    names = hpo.studies(storage)
    say(f"{redacted(storage)}: {len(names)} {'study' if len(names) == 1 else 'studies'}")
    for name in names:
        shown = printable(name)
        try:
            tuner = hpo.Tuner.load(storage, name)
            view, checkpoints = tuner._view(), tuner._loop.session.checkpoints  # noqa: SLF001 - the read model of this package
        except hpo.StorageError as error:
            say(f"  {shown}: {error}")
            continue
        waiting = view.counts.get("waiting", 0)
        note = f", {waiting} wait for a worker: start the script again" if waiting and not view.running else ""
        say(f"  {shown}: {len(view.trials)} trials, {len(view.running)} are being trained{note}")
        for trial in view.trials:
            if trial.checkpoint is not None and not checkpoints.is_kept(trial.number, trial.checkpoint):
                say(f"  {shown}: the checkpoint of trial {trial.number} is missing: {trial.checkpoint}")


COMMANDS = (list_, copy, rename, delete, migrate, doctor)
