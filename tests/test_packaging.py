"""The wheel contains the files of the folders."""

import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

import hpo_plugins
from hpo_plugins import cli
from hpo_plugins.cli.packages import packages

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_is_packaged(project):
    folders = {
        p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in (ROOT / "hpo_plugins").rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == folders | {"hpo_plugins.integrations"}


def test_version_is_the_same_everywhere(project):
    assert hpo_plugins.__version__ == project["project"]["version"]


def test_every_integration_has_its_extra(project):
    frameworks = {p.stem for p in (ROOT / "integrations").glob("[!_]*.py")}
    assert frameworks <= set(project["project"]["optional-dependencies"])


def test_oldest_versions_are_the_lower_bounds(project):
    pins = runpy.run_path(str(ROOT / ".ci" / "oldest_versions.py"))["oldest_versions"]()
    bounds = {pin.replace("==", ">=") for pin in pins}
    required = set(project["project"]["dependencies"])
    assert required < bounds
    assert bounds <= required.union(*project["project"]["optional-dependencies"].values())
    assert {"xgboost", "lightgbm", "keras", "lightning", "transformers[torch]"} <= {pin.split("==")[0] for pin in pins}


def test_doctor_tells_the_versions_of_every_framework(project):
    told = packages()
    extras = project["project"]["optional-dependencies"]
    frameworks = [path.stem for path in (ROOT / "integrations").glob("[!_]*.py")]
    wanted = [re.match(r"[\w-]+", requirement)[0] for name in frameworks for requirement in extras[name]]
    assert {"hpo-plugins", "numpy", "sqlalchemy", "torch", "rich", *wanted} <= set(told)
    assert not {"pytest", "sphinx", "ruff", "smac", "moto"} & set(told)
    assert len(told) == len(set(told))


def test_missing_framework_is_named_with_its_extra():
    error = hpo_plugins.MissingDependency.of(ModuleNotFoundError("x", name="keras"), "keras", "keras")
    assert isinstance(error, ModuleNotFoundError)
    assert isinstance(error, hpo_plugins.HpoError)
    assert str(error) == "keras is not installed. Install it with: pip install 'hpo-plugins[keras]'"


def test_broken_framework_keeps_its_own_cause():
    broken = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    assert hpo_plugins.MissingDependency.of(broken, "keras", "keras") is broken


def test_command_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "hpo_plugins.cli.main", raising=False)
    with pytest.raises(SystemExit, match=re.escape("The command line needs click. Install it with: pip install")):
        cli.start()
