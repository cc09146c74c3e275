"""Search spaces that come with beliefs: ranges, scales and good values, to print, change and extend.

Each function returns a new dict of parameters under the framework's own names, or, with ``portfolio=n``, n
configurations for ``Tuner(points_to_evaluate=)``. Where the values come from: docs/decisions/0034.
"""

from hpo_plugins.spaces.boosting import catboost, lightgbm, xgboost
from hpo_plugins.spaces.finetuning import lora, transformers_finetuning
from hpo_plugins.spaces.optimizers import adamw, sgd

__all__ = ["adamw", "catboost", "lightgbm", "lora", "sgd", "transformers_finetuning", "xgboost"]
