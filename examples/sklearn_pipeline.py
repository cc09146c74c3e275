"""Tune a pipeline of scikit-learn by cross-validation; bad configurations are stopped within a fold.

pip install 'hpo-plugins[sklearn]'
"""

from hpo_plugins.integrations.sklearn import TunedSearchCV
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import hpo_plugins as hpo


def main() -> None:
    """Run 10 trials."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y, train_size=500)
    classifier = HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=8, max_bins=32)
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", classifier)])
    search = TunedSearchCV(
        pipeline,
        {
            "clf__learning_rate": hpo.Continuous(0.01, 1.0, scale="log"),
            "clf__min_samples_leaf": hpo.Integer(2, 50, scale="log"),
            "clf__l2_regularization": hpo.Continuous(1e-3, 10, scale="log"),
        },
        strategy=hpo.Hyperband(max_resource=27),  # at most 27 rounds of boosting in each fold
        max_trials=10,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        random_state=0,
    )
    search.fit(x_train, y_train)
    print(search.tuner_.summary())
    print(f"accuracy on new rows: {search.score(x_test, y_test):.3f}")


if __name__ == "__main__":
    main()
