"""One thin callback per framework: import the one that you need, such as ``hpo_plugins.integrations.xgboost``."""
