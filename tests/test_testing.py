"""The laws of hpo_plugins.testing find what breaks them."""

import inspect
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import hpo_plugins as hpo
from hpo_plugins import testing
from hpo_plugins.extending import Decision, TrialState, untried_draw
from hpo_plugins.storage.memory import MemoryStorage, MemoryStudyStore

CONTRACTS = [getattr(testing, name) for name in testing.__all__ if name.endswith("Contract")]


CALLS = itertools.count()


@dataclass(frozen=True)
class Stateful(hpo.Strategy):
    def suggest(self, history, seed):
        return untried_draw(history, next(CALLS))


@dataclass(frozen=True)
class Repeating(hpo.Strategy):
    def suggest(self, history, seed):
        return history.space.at_index(0) if history.space.size else untried_draw(history, seed)


@dataclass(frozen=True)
class Counting(hpo.StoppingRule):
    """Counts its calls, which a restart forgets."""

    def __post_init__(self):
        object.__setattr__(self, "calls", [])

    def on_report(self, history, number, epoch):
        self.calls.append(number)
        return Decision(TrialState.STOPPED, "too many calls") if len(self.calls) % 10 == 0 else None


def contract(kind, make):
    return type("TestOfThis", (kind,), {"make": lambda self, *arguments: make(*arguments)})()


def test_strategy_with_a_state_breaks_a_law(tmp_path):
    laws = contract(testing.StrategyContract, Stateful)
    with pytest.raises(AssertionError, match="=="):
        laws.test_restart_continues_as_if_never_stopped(tmp_path)
    with pytest.raises(AssertionError, match="=="):
        laws.test_seed_fixes_every_suggestion()


def test_strategy_that_repeats_breaks_a_law():
    with pytest.raises(AssertionError, match="12 == 1"):
        contract(testing.StrategyContract, Repeating).test_finite_space_is_exhausted_without_a_repeat()


def test_rule_with_a_state_breaks_a_law(tmp_path):
    with pytest.raises(AssertionError, match="=="):
        contract(testing.StoppingRuleContract, Counting).test_restart_decides_as_if_never_stopped(tmp_path)


@pytest.mark.parametrize(
    ("method", "replacement", "law"),
    [
        ("acquire", lambda self, a, expected: MemoryStudyStore.acquire(self, a, self._acquisitions), "stale_view"),
        ("_is_held", lambda self, number, attempt, *states: True, "present_attempt"),
        ("claim", lambda self, key, owner, instead_of="": owner, "given_to_the_first"),
        ("drop_checkpoint", lambda self, number, checkpoint: None, "checkpoint_is_dropped"),
    ],
)
def test_storage_that_breaks_a_rule_breaks_its_law(method, replacement, law):
    class Broken(MemoryStudyStore):
        pass

    setattr(Broken, method, replacement)
    given = {"storage": MemoryStorage(), "study": Broken({"seed": 1})}
    given["storage"]._studies["study"] = given["study"]
    laws = contract(testing.StorageContract, None)
    (found,) = [getattr(laws, name) for name in dir(laws) if name.startswith("test_") and law in name]
    with pytest.raises(AssertionError, match="assert"):
        found(**{name: given[name] for name in inspect.signature(found).parameters})


def test_tracker_that_adds_breaks_a_law(tmp_path):
    class Appending(hpo.TunerCallback):
        def __init__(self, folder):
            self.path = folder.with_suffix(".txt")

        @property
        def destination(self):
            return str(self.path)

        def on_trial_end(self, tuner, trial):
            with self.path.open("a") as file:
                file.write(f"{trial.number}\n")

    laws = contract(testing.TrackerContract, Appending)
    type(laws).numbers = lambda self, folder: [int(n) for n in folder.with_suffix(".txt").read_text().split()]
    with pytest.raises(AssertionError, match="0, 0"):
        laws.test_replay_replaces_what_was_written(tmp_path)


@pytest.mark.parametrize("kind", CONTRACTS, ids=lambda kind: kind.__name__)
def test_contract_without_a_factory_says_what_is_missing(kind):
    with pytest.raises(NotImplementedError, match=r"TestOfThis must define make\(self"):
        kind.make(type("TestOfThis", (kind,), {})(), *[Path()] * (kind.make.__code__.co_argcount - 1))


def test_missing_pytest_is_named_with_its_extra():
    script = "import sys; sys.modules['pytest'] = None; import hpo_plugins.testing"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pytest is not installed. Install it with: pip install 'hpo-plugins[testing]'" in ended.stderr
