"""Results from and to elsewhere: Optuna, KerasTuner, MLflow, and tables such as an export of Weights & Biases."""

from hpo_plugins.exchange.importing import KINDS, import_studies
from hpo_plugins.exchange.to_optuna import export_optuna

__all__ = ["KINDS", "export_optuna", "import_studies"]
