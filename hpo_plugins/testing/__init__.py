"""Laws of every strategy, stopping rule, storage, callback and tracker, to run with pytest.

Derive a class whose name begins with ``Test`` from a contract, and return the tested object from ``make``:

    class TestMine(StrategyContract):
        def make(self):
            return Mine()

Each law is a test of that class.
"""

from hpo_plugins.errors import MissingDependency

try:
    import pytest
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "pytest", "testing") from error

pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("storages", "strategies", "frameworks", "trackers")))

from hpo_plugins.testing.frameworks import Crash, Framework, FrameworkContract  # noqa: E402 - rewritten from here on
from hpo_plugins.testing.storages import ManagedStorageContract, StorageContract  # noqa: E402
from hpo_plugins.testing.strategies import (  # noqa: E402
    DrawsContract,
    FiniteStrategyContract,
    StoppingRuleContract,
    StrategyContract,
)
from hpo_plugins.testing.trackers import TrackerContract  # noqa: E402

__all__ = [
    "Crash",
    "DrawsContract",
    "FiniteStrategyContract",
    "Framework",
    "FrameworkContract",
    "ManagedStorageContract",
    "StoppingRuleContract",
    "StorageContract",
    "StrategyContract",
    "TrackerContract",
]
