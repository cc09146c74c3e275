"""Modules with tasks that are not part of this project: an environment variable names their folder."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType


def module(name: str, variable: str) -> ModuleType:
    """Return a module of a folder.

    Args:
        name: The module.
        variable: The environment variable that names its folder.
    """
    folder = os.environ.get(variable)
    if folder is None:
        raise SystemExit(f"Set {variable} to the folder with {name}.py (see benchmarks/README.md).")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)
