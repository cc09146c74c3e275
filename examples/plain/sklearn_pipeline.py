"""Train a pipeline of scikit-learn.

pip install scikit-learn
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Train once."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y, train_size=500)
    classifier = HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=8, max_bins=32)
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", classifier)])
    pipeline.fit(x_train, y_train)
    print(f"accuracy on new rows: {pipeline.score(x_test, y_test):.3f}")


if __name__ == "__main__":
    main()
