"""Train XGBoost on handwritten digits.

pip install xgboost scikit-learn
"""

import xgboost as xgb
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ROUNDS = 81
FIXED = {"objective": "multi:softprob", "num_class": 10, "eval_metric": ["mlogloss", "merror"], "nthread": 1, "seed": 0}


def main() -> None:
    """Train once."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    dtrain, dvalid = xgb.DMatrix(x_train, y_train), xgb.DMatrix(x_valid, y_valid)
    xgb.train(
        FIXED | {"eta": 0.3, "max_depth": 6},
        dtrain,
        num_boost_round=ROUNDS,
        evals=[(dvalid, "validation")],
        verbose_eval=20,
    )


if __name__ == "__main__":
    main()
