"""Search spaces: parameters, the space that they span, and the union of several training definitions' spaces."""

from hpo_plugins.space.categorical import Categorical, Listed, Ordinal
from hpo_plugins.space.definitions import DefinitionSpace, TrainingDefinition
from hpo_plugins.space.parameters import Continuous, Integer, Parameter
from hpo_plugins.space.space import Space
from hpo_plugins.space.values import FloatArray, Params, Scale, Value

__all__ = [
    "Categorical",
    "Continuous",
    "DefinitionSpace",
    "FloatArray",
    "Integer",
    "Listed",
    "Ordinal",
    "Parameter",
    "Params",
    "Scale",
    "Space",
    "TrainingDefinition",
    "Value",
]
