"""The accelerators of a worker process: the process that starts it tells it, and ``trial.devices`` repeats it."""

from __future__ import annotations

import os

TOLD = "HPO_PLUGINS_DEVICES"
"""The environment variable by which a worker process knows its devices."""


def told_devices() -> tuple[str, ...]:
    """Return the devices that this worker process was given, empty if it was given none."""
    return tuple(filter(None, os.environ.get(TOLD, "").split(",")))
