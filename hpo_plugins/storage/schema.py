"""The tables of a database that holds studies."""

from __future__ import annotations

from dataclasses import fields

import sqlalchemy as sa

from hpo_plugins.records import Progress, ReportRow, TrialRow

SCHEMA_VERSION = 7

metadata = sa.MetaData()
meta = sa.Table(
    "hpo_meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
studies = sa.Table(
    "hpo_studies",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(512), nullable=False, unique=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("acquisitions", sa.BigInteger, nullable=False),
    sa.Column("runtime", sa.Float(53), nullable=False, default=0.0),
    sa.Column("last_write", sa.Float(53)),  # when the runtime was last updated; NULL before the first acquisition
)
trials = sa.Table(
    "hpo_trials",
    metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failed_attempts", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("lease_until", sa.Float(53)),
    sa.Column("started_at", sa.Float(53), nullable=False),
    sa.Column("ended_at", sa.Float(53)),
    sa.Column("decision", sa.String(16)),
    sa.Column("rule", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("checkpoint", sa.Text),
    sa.Column("start_epoch", sa.BigInteger, nullable=False, default=0),
    sa.Column("folds", sa.Integer),
    sa.Column("fold", sa.Integer, nullable=False, default=0),
    sa.Column("phases", sa.Text, nullable=False, default="[]"),  # JSON: a list of epochs
    sa.Column("phase", sa.Integer, nullable=False, default=0),
    sa.Column("point", sa.Integer),
    sa.Column("best_checkpoint", sa.Text),
    sa.Column("best_checkpoint_epoch", sa.BigInteger),
    sa.Index("hpo_trials_revision", "study", "revision"),
)
reports = sa.Table(  # a log, appended and read in the order of its key
    "hpo_reports",
    metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float(53)),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("fold", sa.Integer, nullable=False),
    sa.Column("writer", sa.String(16), nullable=False),
    sqlite_with_rowid=False,
)
claims = sa.Table(
    "hpo_claims",
    metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
    sa.Column("owner", sa.String(512), nullable=False),
)
points = sa.Table(  # configurations that were enqueued
    "hpo_points",
    metadata,
    sa.Column("study", sa.ForeignKey("hpo_studies.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
)
actions = sa.Table(  # what people did; databases that were made before it have it from the first action on
    "hpo_actions",
    metadata,
    # Not a foreign key: to create one locks the table of studies, for which workers may be waiting.
    sa.Column("study", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Float(53), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("trial", sa.Integer),
    sa.Column("details", sa.Text, nullable=False),
)
OF_STUDIES = (trials, reports, claims, points, actions)
"""The tables whose rows belong to a study."""
LOCK = 0x68706F
"""The number of the advisory lock under which PostgreSQL's tables are created and changed."""
VERSION = sa.select(meta.c.value).where(meta.c.key == "schema")
PROGRESS = tuple(field.name for field in fields(Progress))
"""The columns of a trial's progress."""
TRIAL_COLUMNS = [trials.c[field.name] for field in fields(TrialRow) if field.name != "progress"] + [
    trials.c[name] for name in PROGRESS
]
REPORT_COLUMNS = [reports.c[name] for name in ReportRow._fields]


def create_tables(connection: sa.Connection) -> None:
    """Create the tables that are missing."""
    if connection.dialect.name == "postgresql":  # otherwise several first processes create the same tables
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    metadata.create_all(connection)
    if connection.execute(VERSION).first() is None:
        connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))


def has_actions(connection: sa.Connection) -> bool:
    """Return whether a database has the table of actions."""
    return sa.inspect(connection).has_table(actions.name)


def tables_of_studies(connection: sa.Connection) -> list[sa.Table]:
    """Return the tables with rows of studies that a database has."""
    return [table for table in OF_STUDIES if table is not actions or has_actions(connection)]
