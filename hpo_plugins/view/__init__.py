"""Views for users: progress, summary, plots and reports, all from one read model, ``StudyView``."""

from hpo_plugins.view.study_view import StudyView

__all__ = ["StudyView"]
