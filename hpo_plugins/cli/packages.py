"""The packages whose versions a bug report needs: those that this package names in its metadata."""

from __future__ import annotations

import importlib.metadata
import re

_DEVELOPMENT = {"benchmark", "dev", "docs", "examples", "test", "testing"}
"""Extras that users do not need."""
_INDIRECT = ("torch",)
"""Dependencies of frameworks that affect results."""


def packages() -> list[str]:
    """Return the names of this package, and of what it and its extras require."""
    names = ["hpo-plugins"]
    for requirement in importlib.metadata.requires("hpo-plugins") or ():
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if name is not None and (extra is None or extra[1] not in _DEVELOPMENT):
            names.append(name[0])
    return list(dict.fromkeys([*names, *_INDIRECT]))
