"""The public names with their signatures and defaults: what changes here changes the scripts of users.

``python tests/test_api.py`` rewrites the file; the difference belongs in the changelog.
"""

import enum
import importlib
import inspect
import sys
from pathlib import Path

import pytest

import hpo_plugins as hpo
from hpo_plugins import extending, testing

FROZEN = Path(__file__).with_name("api.txt")
WHOLE = (
    "Tuner", "Trial", "TrialRecord", "TunerCallback", "WarmStart", "Strategy", "StoppingRule", "Storage", "StudyStore",
    "ManagedStorage", "TrainingPlugin", "Phase", "Decision", "Framework",
)  # fmt: skip
"""Classes whose members are public, too; of the others it is their arguments."""
INTEGRATIONS = sorted(path.stem for path in (Path(__file__).parent.parent / "integrations").glob("[!_]*.py"))


def lines_of(name, thing):
    """The public face of a class, a function or a module, one line each."""
    if inspect.ismodule(thing):
        for part in thing.__all__:
            yield from lines_of(f"{name}.{part}", getattr(thing, part))
    elif inspect.isclass(thing) and issubclass(thing, enum.Enum):
        yield f"{name}: {', '.join(member.name for member in thing)}"
    elif inspect.isclass(thing) and issubclass(thing, Exception):
        yield f"{name}({', '.join(base.__name__ for base in thing.__bases__)})"
    elif inspect.isclass(thing):
        yield name if thing is hpo.Trial else f"{name}{inspect.signature(thing)}"  # tuners make trials
        for part in sorted(dir(thing)) if name.rpartition(".")[2] in WHOLE else ():
            member = inspect.getattr_static(thing, part)
            owner = next(cls for cls in thing.__mro__ if part in vars(cls))
            if part.startswith("_") or not owner.__module__.startswith("hpo_plugins"):
                continue
            if isinstance(member, property):
                yield f"{name}.{part}"
            elif callable(getattr(thing, part)):
                yield f"{name}.{part}{inspect.signature(getattr(thing, part))}"
    elif inspect.isfunction(thing):
        yield f"{name}{inspect.signature(thing)}"
    else:
        yield name


def public_api():
    found = [line for name in hpo.__all__ for line in lines_of(f"hpo_plugins.{name}", getattr(hpo, name))]
    known = {getattr(hpo, name) for name in hpo.__all__}
    for module in (extending, testing):
        parts = [(name, getattr(module, name)) for name in module.__all__]
        new = [(name, thing) for name, thing in parts if not inspect.isclass(thing) or thing not in known]
        found += [line for name, thing in new for line in lines_of(f"{module.__name__}.{name}", thing)]
    return "\n".join(found) + "\n"


def test_public_names_and_signatures_are_as_they_were():
    assert public_api() == FROZEN.read_text(encoding="utf-8"), "see the docstring of tests/test_api.py"


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_integrations_export_what_they_document(name):
    pytest.importorskip(name)
    module = importlib.import_module(f"hpo_plugins.integrations.{name}")
    for part in module.__all__:
        assert inspect.getdoc(getattr(module, part)), part


if __name__ == "__main__":
    FROZEN.write_text(public_api(), encoding="utf-8")
    sys.exit(print(f"{FROZEN} has {len(public_api().splitlines())} lines"))
