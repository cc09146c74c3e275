"""Imports run one way, and the core stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hpo_plugins

ROOT = Path(hpo_plugins.__file__).parent
FLOORS = [
    {"errors"},
    {"space", "relay", "loop_exit", "lease", "checkpoints", "random_state"},
    {"objective"},
    {"definitions", "records"},
    {"training_times"},
    {"history", "held", "surrogate"},
    {"storage", "strategies", "warm_start"},
    {"criteria"},
    {"study"},
    {"standing"},
    {"ending", "reporting"},
    {"handing_out", "saving"},
    {"trial", "coordinator", "summary"},
    {"workers"},
    {"tuner"},
    {"integrations", "sagemaker"},
]
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
FRAMEWORKS = {
    "torch",
    "keras",
    "lightning",
    "pytorch_lightning",
    "xgboost",
    "ray",
    "pandas",
    "matplotlib",
    "plotly",
    "sklearn",
}


def imports(source):
    """The modules that a file imports when it is imported: not inside functions, not for type checkers only."""
    for node in ast.parse(source).body:
        nodes = [node]
        if isinstance(node, ast.Try):
            nodes = node.body
        for inner in nodes:
            if isinstance(inner, ast.Import):
                yield from (alias.name for alias in inner.names)
            elif isinstance(inner, ast.ImportFrom) and inner.module:
                if inner.module == "hpo_plugins":
                    yield from (f"hpo_plugins.{alias.name}" for alias in inner.names)
                else:
                    yield inner.module


def violations(files):
    """Arrows that point upwards, from ``{path in the package: source}``."""
    found = []
    for path, source in files.items():
        room = Path(path).with_suffix("").parts[0]
        for module in imports(source):
            package, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if package == "hpo_plugins" and target and target != room and HEIGHT[target] >= HEIGHT[room]:
                allowed = (room, target) == (
                    "coordinator",
                    "trial",
                )  # a coordinator makes trials; a trial only calls it
                if not allowed:
                    found.append(f"{path} imports {module}")
            if package in FRAMEWORKS and room != "integrations":
                found.append(f"{path} imports the framework {module}")
    return found


@pytest.fixture(scope="module")
def sources():
    files = {str(p.relative_to(ROOT)): p.read_text() for p in ROOT.rglob("*.py") if p.name != "__init__.py"}
    integrations = ROOT.parent / "integrations"
    if integrations.is_dir():
        files |= {f"integrations/{p.name}": p.read_text() for p in integrations.glob("*.py")}
    return files


def test_imports_run_one_way(sources):
    assert violations(sources) == []


def test_every_room_has_a_floor(sources):
    rooms = {Path(path).with_suffix("").parts[0] for path in sources}
    assert rooms <= set(HEIGHT)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("storage/sql.py", "from hpo_plugins.strategies import Random"),
        ("strategies/grid.py", "from hpo_plugins.storage.sql import SqlStorage"),
        ("history.py", "from hpo_plugins import tuner"),
        ("space.py", "import torch"),
        ("tuner.py", "from hpo_plugins.integrations import keras"),
    ],
)
def test_a_violation_is_found(path, source):
    assert violations({path: source}) != []


@pytest.mark.parametrize("module", ["sqlalchemy", "scipy", "pandas", "torch", "xgboost", "keras", "lightning", "ray"])
def test_import_is_light(module):
    script = f"import sys, hpo_plugins; sys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names_are_the_contract():
    errors = {name for name in hpo_plugins.__all__ if issubclass(type(getattr(hpo_plugins, name)), type)}
    errors = {name for name in errors if issubclass(getattr(hpo_plugins, name), Exception)}
    names = set(hpo_plugins.__all__) - errors
    assert names >= {
        "Categorical", "Continuous", "Converged", "Grid", "Hyperband", "Integer", "Maximize", "MedianRule", "Minimize",
        "NotImproving", "Random", "TargetReached", "Trial", "TrialRecord", "TrialState", "Tuner", "WarmStart",
    }  # fmt: skip
    assert all(issubclass(getattr(hpo_plugins, name), hpo_plugins.HpoError) for name in errors)
    assert all(hasattr(hpo_plugins, name) for name in hpo_plugins.__all__)
