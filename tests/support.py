"""Manipulate a study behind the tuner's back; each name says which event it simulates."""

from hpo_plugins.testing._studies import expire_lease as expire_lease
from hpo_plugins.testing._studies import is_value_of as is_value_of
from hpo_plugins.testing._studies import save_always as save_always


def session_of(tuner):
    """The tuner's view of its study."""
    return tuner._loop.session


def store_of(tuner):
    """The tuner's study in its storage."""
    return session_of(tuner).store


def history_of(tuner):
    """The tuner's history, up to date."""
    return session_of(tuner).refresh()


def release(trial):
    """Give a trial back, as an interrupted loop does."""
    trial._lease.release()
