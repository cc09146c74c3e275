"""Helpers of several commands."""

from __future__ import annotations

import click

import hpo_plugins as hpo
from hpo_plugins._text import printable
from hpo_plugins.view import StudyView

STORAGE = click.argument("storage", metavar="STORAGE")
FORCE = click.option("--force", is_flag=True, help="Proceed even if workers train trials of the study.")
NAME = click.option("--name", "-n", help="The study's name; needed if the storage has several.")


def say(text: object, *, err: bool = False) -> None:
    """Print text; every command prints through this, since a study file may come from a stranger."""
    click.echo(printable(text, lines=True), err=err)


def view_of(storage: str, name: str | None) -> StudyView:
    """Return what a stored study shows of itself."""
    return hpo.Tuner.load(storage, name)._view()  # noqa: SLF001 - the read model of this package
