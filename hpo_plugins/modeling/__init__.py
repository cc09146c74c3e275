"""From the history of a study to suggestions: observations, the surrogate, and the choice of the next epochs.

Submodules are loaded when they are first used, as attributes of this package: they need scipy, which takes half a
second to import, and which ``import hpo_plugins`` must not load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo_plugins.modeling import expectation, feasibility, freeze_thaw, model, sampled_task, scale, suggestion

__all__ = ["expectation", "feasibility", "freeze_thaw", "model", "sampled_task", "scale", "suggestion"]


def __getattr__(name: str) -> Any:
    """Load a submodule."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
