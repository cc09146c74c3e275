"""Random search: draws depend on no result, so any number of workers draws the same configurations.

References:
    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
    Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14, 1998.

Differs from the paper in: draws are scrambled Sobol points rather than independent ones, which find better
configurations with few trials (docs/decisions/0015).
"""

from __future__ import annotations

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import boolean
from hpo_plugins.history import History
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.space import Params
from hpo_plugins.strategies.base import Strategy


@frozen(repr=False)
class Random(Strategy):
    """Draw configurations at random, evenly spread over the scales of the space.

    Trial n's configuration depends only on the seed and n. In a finite space it repeats no configuration, including
    those in ``points_to_evaluate``, and the search ends when all have been tried.

    Args:
        use_priors: Whether what is believed of the parameters (``prior=``) steers the draws: the first one has the
            most likely values, and the share of the draws that follow the belief falls with the trial's number. False
            draws evenly from all ranges, as SageMaker's random search does.
    """

    use_priors: bool = checked(boolean, default=True, kw_only=True)

    def suggest(self, history: History, seed: int) -> Params:
        """Return draw ``len(history)``; in a finite space, the next one that no trial has."""
        space = history.space
        return untried_draw(history, seed, space if self.use_priors else space.without_belief)

    def __repr__(self) -> str:
        """Show the argument only if it was given."""
        return f"{type(self).__name__}({'' if self.use_priors else 'use_priors=False'})"

    def describe(self) -> str:
        """Describe the strategy's plan."""
        return "Random: scrambled Sobol draws, each from the seed and the trial's number alone."
