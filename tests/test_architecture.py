"""Imports run downward, without a circle, and the core stays light."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import hpo_plugins

ROOT = Path(hpo_plugins.__file__).parent
LAYERS = [  # from the bottom to the top; a package imports only from layers below its own
    ["_text"],
    ["errors", "_fields"],
    ["_validation"],
    ["objective"],
    ["space"],
    ["records", "spaces"],
    ["history", "surrogate"],
    ["modeling"],
    ["storage", "strategies"],  # neither knows the other
    ["study", "serve"],
    ["coordination"],
    ["trial"],
    ["execution"],
    ["view"],
    ["page"],
    ["tuner"],
    ["simulation"],
    ["extending"],
    ["sagemaker", "integrations", "exchange"],
    ["cli", "testing"],
]
HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}
FRAMEWORKS = {
    "torch", "pytorch_lightning", "pandas", "matplotlib", "plotly", "sklearn", "botocore",
    *(path.stem for path in (ROOT.parent / "integrations").glob("[!_]*.py")),
}  # fmt: skip


def imports(source):
    """The modules that a file imports, inside functions and for annotations too."""

    def walk(node):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return list(walk(ast.parse(source)))


def is_lazy(source, module):
    """Whether a module is imported inside functions or for annotations only."""
    return not any(module in imports(ast.unparse(node)) for node in ast.parse(source).body if not is_late(node))


def is_late(node):
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return is_for_types or isinstance(node, ast.FunctionDef | ast.ClassDef)


def violations(files):
    """Imports that point upward, and frameworks outside of the integrations, from ``{path: source}``."""
    found = []
    for path, source in files.items():
        package = Path(path).with_suffix("").parts[0]
        for module in imports(source):
            root, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if root == "hpo_plugins" and target in HEIGHT and target != package and HEIGHT[target] >= HEIGHT[package]:
                found.append(f"{path} imports {module}")
            if root in FRAMEWORKS and package != "integrations" and not is_lazy(source, module):
                found.append(f"{path} imports the framework {module}")
    return found


@pytest.fixture(scope="module")
def sources():
    files = {str(p.relative_to(ROOT)): p.read_text() for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py"}
    integrations = ROOT.parent / "integrations"
    if integrations.is_dir():
        files |= {f"integrations/{p.name}": p.read_text() for p in integrations.glob("*.py")}
    return files


def test_imports_run_downward(sources):
    assert violations(sources) == []


def test_modules_form_no_circle(sources):
    def name(path):
        return "hpo_plugins." + ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")

    modules = {name(path): source for path, source in sources.items()}
    graph = {}
    for module, source in modules.items():
        imported = set(imports(source)) & modules.keys() - {module}
        # `from package import module` needs the package only if something else of it is imported.
        graph[module] = {m for m in imported if not any(other.startswith(f"{m}.") for other in imported)}
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_package_has_a_layer(sources):
    assert {Path(path).with_suffix("").parts[0] for path in sources} <= set(HEIGHT)


def test_top_folder_is_small():
    assert len(list(ROOT.glob("*.py"))) <= 7


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("storage/sql.py", "from hpo_plugins.strategies import Random"),
        ("strategies/grid.py", "def f():\n    from hpo_plugins.storage.sql import SqlStorage"),
        ("history/history.py", "from hpo_plugins import tuner"),
        ("space/space.py", "import torch"),
        ("tuner.py", "from hpo_plugins.integrations import keras"),
    ],
)
def test_violations_are_found(path, source):
    assert violations({path: source}) != []


HEAVY = {
    "httpx", "starlette", "uvicorn", "sqlalchemy", "scipy", "pandas", "torch", "xgboost", "keras", "lightning", "ray",
    "pytest", "hpo_plugins.testing",
}  # fmt: skip


def test_import_is_light():
    script = f"import sys, hpo_plugins; sys.exit(' '.join({HEAVY} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == ""


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
