"""Figures of a study: ``data`` has the columns, ``static`` draws with matplotlib, ``interactive`` with plotly."""

from hpo_plugins.view.plots.data import KINDS
from hpo_plugins.view.plots.static import Plots

__all__ = ["KINDS", "Plots"]
