"""What tests do to a study behind the tuner's back, named for what it stands for."""

import json

import hpo_plugins as hpo


def session_of(tuner):
    """The tuner's view of its study."""
    return tuner._loop.session


def store_of(tuner):
    """The tuner's study in its storage."""
    return session_of(tuner).store


def history_of(tuner):
    """The tuner's history, up to date."""
    return session_of(tuner).refresh()


def expire_lease(tuner, number, attempt=1, **fields):
    """Let the lease of a trial expire, as if its worker, on another machine, had been silent for too long."""
    fields = {"worker": "elsewhere/1/x", **fields}
    assert store_of(tuner).update(number, attempt, lease_until=1.0, **fields)


def release(trial):
    """Give a trial back, as an interrupted loop does."""
    trial._lease.release()


def save_always(monkeypatch):
    """Let every epoch of a running training be worth a checkpoint."""
    from hpo_plugins.storage.checkpoints import SaveTimer

    monkeypatch.setattr(SaveTimer, "is_due", lambda self: True)


def is_value_of(parameter, value):
    """Whether a parameter can take this value."""
    if isinstance(parameter, hpo.Categorical):
        return json.dumps(value) in [json.dumps(known) for known in parameter.values]
    return parameter.low <= value <= parameter.high
