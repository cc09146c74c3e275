"""The space of a confirmation: a finalist of a search, and which of its repeats it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo_plugins.space.categorical import Categorical
from hpo_plugins.space.parameters import Integer
from hpo_plugins.space.space import Space
from hpo_plugins.space.values import Params, Value

FINALIST, REPEAT = "finalist", "repeat"


class FinalistSpace(Space):
    """Finalists of a search, each to be trained up to ``repeats`` times.

    A training run receives the configuration of its finalist.

    Args:
        finalists: The configuration of each finalist by its number in the search.
        repeats: The maximum number of repeats.
    """

    def __init__(self, finalists: Mapping[int, Params], repeats: int) -> None:
        """Build the space of pairs."""
        self.finalists = {number: dict(params) for number, params in finalists.items()}
        self.repeats = repeats
        super().__init__({FINALIST: Categorical(list(self.finalists)), REPEAT: Integer(1, repeats, scale="linear")})

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the space: hashes of strings differ between processes."""
        return FinalistSpace, (self.finalists, self.repeats)

    def params_of(self, configuration: Mapping[str, Value]) -> Params:
        """Return the configuration of the finalist, in a new dict."""
        return dict(self.finalists[configuration[FINALIST]])  # type: ignore[index]  # a finalist's number
