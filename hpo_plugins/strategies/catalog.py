"""List the available strategies and stopping rules: ours for error messages, and those of other packages."""

from __future__ import annotations

import importlib.metadata
import inspect

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.strategies.base import Component

GROUP = "hpo_plugins.strategies"
"""The entry point group by which packages declare strategies and rules: a class name and its location."""


def names_of(kind: type[Component], *, but: type[Component] | None = None) -> str:
    """Return the calls of a kind's public classes, such as ``Grid(), Hyperband(...) or Random()``.

    Args:
        kind: Their base class.
        but: A base class to leave out.
    """
    import hpo_plugins  # which imports this package

    known = [cls for name, cls in sorted(Component.registry.items()) if name in hpo_plugins.__all__]
    known = [cls for cls in known if issubclass(cls, kind) and not inspect.isabstract(cls)]
    calls = [
        f"{cls.__name__}({'...' if inspect.signature(cls).parameters else ''})"
        for cls in known
        if cls is getattr(hpo_plugins, cls.__name__) and (but is None or not issubclass(cls, but))
    ]
    return " or ".join(filter(None, [", ".join(calls[:-1]), *calls[-1:]]))


def import_components(definition: object) -> None:
    """Import the strategy and the rule of a stored study from the installed packages that declare them.

    Args:
        definition: The study's stored definition; its reader reports damage.

    Raises:
        InvalidArgument: A package that declares one of them cannot be imported.
    """
    parts = [definition.get(part) for part in ("strategy", "early_stopping")] if isinstance(definition, dict) else []
    for part in parts:
        name = part.get("name") if isinstance(part, dict) else None
        if not isinstance(name, str) or name in Component.registry:
            continue
        for entry in importlib.metadata.entry_points(group=GROUP, name=name):
            try:
                entry.load()
            except (ImportError, AttributeError) as error:
                raise InvalidArgument(
                    f"{name} is declared by {entry.value}, which cannot be imported: {error}."
                ) from error
