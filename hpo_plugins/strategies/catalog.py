"""The strategies and stopping rules that there are, in words for errors: found rather than listed again."""

from __future__ import annotations

import inspect

from hpo_plugins.strategies.base import Component


def names_of(kind: type[Component], *, but: type[Component] | None = None) -> str:
    """Return how the public classes of a kind are written, such as ``Grid(), Hyperband(...) or Random()``.

    Args:
        kind: What they are derived from.
        but: What they are not derived from.
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
