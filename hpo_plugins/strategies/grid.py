"""Grid search: every combination of listed values, once each and in order.

Reference:
    Amazon SageMaker developer guide, "Hyperparameter tuning strategies": grid search takes categorical parameters only,
    and computes the number of training jobs.

Differs from it in: ordered values and numbers with a step are listed values, too.
"""

from __future__ import annotations

from hpo_plugins._fields import frozen
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.space import Listed, Params, Space
from hpo_plugins.space.valid_configurations import MAX_COUNTED
from hpo_plugins.strategies.base import Strategy


@frozen()
class Grid(Strategy):
    """Try every combination of the values of ``Categorical``, ``Ordinal``, and numbers with a ``step``.

    Combinations come in the order of the space as it was written; the last parameter varies fastest, a conditional one
    faster than those that its condition names. The number of
    trials is the number of combinations: leave ``max_trials`` out, or make it equal. A belief (``prior=``) changes
    nothing: every combination is tried.
    """

    def check(self, space: Space, max_trials: int | None) -> None:
        """Raise InvalidArgument for ranges, and for a number of trials other than the number of combinations."""
        for name, parameter in space.items():
            if not isinstance(parameter, Listed) and parameter.step is None:
                raise InvalidArgument(
                    f"Grid needs categorical parameters, but got space[{name!r}]={parameter!r}. List the values to "
                    "try, Categorical([...]) or Ordinal([...]), give a step=, or use Random, Bayesian or Hyperband."
                )
        if space.size is None:
            raise InvalidArgument(
                f"Grid must count the valid combinations, but {space.conditions.size} are too many with "
                f"valid={space.valid!r}: at most {MAX_COUNTED:,}. Use fewer values, or Random."
            )
        if max_trials is not None and max_trials != space.size:
            raise InvalidArgument(
                f"max_trials must be the number of combinations, {space.size}, with Grid, "
                f"but got max_trials={max_trials}. Leave it out: Grid computes it."
            )

    def suggest(self, history: History, seed: int) -> Params:  # noqa: ARG002
        """Return the first untried combination."""
        index = len(history) - len(history.evaluated)  # number of its own trials; the user may add more
        while history.has_configuration(params := history.space.at_index(index)):
            index += 1
        return params

    def describe(self) -> str:
        """Describe the strategy's plan."""
        return "Grid: every combination once, the last parameter varying fastest."
