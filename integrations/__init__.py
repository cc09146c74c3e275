"""One thin callback a framework; import the one you need, such as ``hpo_plugins.integrations.xgboost``."""
