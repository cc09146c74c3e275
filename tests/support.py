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


class EpochCounts:
    """What was really trained, by trial, fold and fit; dies after some epochs of all.

    A test derives from it and from a framework's callback, and calls ``count_begin`` and ``count_end`` at each epoch.
    """

    def __init__(self, die_after=None):
        super().__init__()
        self.trained, self.die_after = {}, die_after

    def of(self, *key):
        self.key = key
        return self

    def count_begin(self, death):
        if self.die_after is not None and sum(self.trained.values()) == self.die_after:
            self.die_after = None
            raise death

    def count_end(self):
        self.trained[self.key] = self.trained.get(self.key, 0) + 1
