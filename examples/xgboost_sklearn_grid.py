"""Grid search for an XGBoost classifier with scikit-learn's interface, with early stopping by the median rule."""

from hpo_plugins.integrations.xgboost import TrialCallback
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from xgboost import XGBClassifier

import hpo_plugins as hpo


def main() -> None:
    """Try all 12 combinations."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0, stratify=y)
    tuner = hpo.Tuner(
        {
            "learning_rate": hpo.Categorical([0.03, 0.1, 0.3]),
            "max_depth": hpo.Categorical([2, 4]),
            "grow_policy": hpo.Categorical(["depthwise", "lossguide"]),
        },
        hpo.Maximize("validation_0-auc"),
        strategy=hpo.Grid(),
        early_stopping=hpo.MedianRule(min_trials=3, min_epochs=5),
    )
    for trial in tuner:
        model = XGBClassifier(
            n_estimators=40, eval_metric="auc", n_jobs=2, callbacks=[TrialCallback(trial)], **trial.params
        )
        model.fit(x_train, y_train, eval_set=[(x_valid, y_valid)], verbose=False)
    print(tuner.summary())


if __name__ == "__main__":
    main()
