"""Manipulate a study behind the tuner's back; each name says which event it simulates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hpo_plugins.tuner import Tuner


def expire_lease(tuner: Tuner, number: int, attempt: int = 1, **fields: Any) -> None:
    """Expire the lease of a trial, as if its worker, on another machine, had been silent for too long."""
    fields = {"worker": "elsewhere/1/x", **fields}
    assert tuner._loop.session.store.update(number, attempt, lease_until=1.0, **fields)


def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every epoch of a running training run worth a checkpoint."""
    from hpo_plugins.storage.checkpoints import SaveTimer

    monkeypatch.setattr(SaveTimer, "is_due", lambda self: True)


def is_value_of(parameter: Any, value: Any) -> bool:
    """Return whether a parameter can take this value, with its type."""
    if hasattr(parameter, "values"):
        return json.dumps(value) in [json.dumps(known) for known in parameter.values]
    if parameter.step is not None:
        return bool(json.dumps(parameter.value_at(parameter.position(value))) == json.dumps(value))
    return bool(parameter.low <= value <= parameter.high)
