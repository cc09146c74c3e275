"""Check the user's own configurations, ``points_to_evaluate`` and ``Tuner.enqueue``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space import Params, Space


def checked_configurations(space: Space, given: object, max_trials: int | None) -> tuple[Params, ...]:
    """Return ``points_to_evaluate`` with plain values.

    Args:
        space: The search space.
        given: The given value.
        max_trials: The maximum number of trials, None for no limit.

    Raises:
        InvalidArgument: It is not a list of configurations of the space, contains one twice, or is too long.
    """
    has_no_rows = isinstance(given, str | bytes | Mapping) or getattr(given, "ndim", 1) == 0
    if not isinstance(given, Iterable) or has_no_rows:
        raise InvalidArgument(
            "points_to_evaluate must be a list of dicts, such as [{'learning_rate': 0.001}], but got "
            f"points_to_evaluate={given!r}."
        )
    found: dict[str, Params] = {}
    for index, each in enumerate(given):
        configuration = checked_configuration(space, each, f"points_to_evaluate[{index}]")
        if (key := space.key(configuration)) in found:
            first = list(found).index(key)
            raise InvalidArgument(
                f"points_to_evaluate[{index}] is the same as points_to_evaluate[{first}]: {configuration}."
            )
        found[key] = configuration
    limit = min((n for n in (max_trials, space.size) if n is not None), default=None)
    if limit is not None and len(found) > limit:
        what = f"max_trials={limit}" if limit == max_trials else f"the {limit} configurations of the space"
        raise InvalidArgument(f"points_to_evaluate must have at most as many points as {what}, but has {len(found)}.")
    return tuple(found.values())


def checked_configuration(space: Space, given: object, name: str) -> Params:
    """Return one configuration with plain values, complete or partial.

    Args:
        space: The search space.
        given: The given value.
        name: Its name in errors.

    Raises:
        InvalidArgument: No configuration of the space has these values.
    """
    if not isinstance(given, Mapping) or not given:
        raise InvalidArgument(f"{name} must map at least one parameter's name to a value, but got {given!r}.")
    try:
        found = space.checked_part(given)
        is_valid = space.can_complete(found)
    except InvalidArgument as error:
        raise InvalidArgument(f"{name}: {error}") from None
    if not is_valid:
        raise InvalidArgument(f"{name} must be valid, but {found} does not meet valid={space.valid!r}.")
    return found
