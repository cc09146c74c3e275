import optuna
import xgboost as xgb
from optuna_integration import XGBoostPruningCallback
from watch import digits, note, training

train, valid = (xgb.DMatrix(x, y) for x, y in digits())
fixed = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss", "nthread": 1}


class Note(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        note(loss=evals_log["valid"]["mlogloss"][-1])


def objective(trial):
    params = {
        "eta": trial.suggest_float("eta", 0.005, 1.0, log=True),
        "max_depth": trial.suggest_int("max_depth", 1, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 50, log=True),
        "subsample": trial.suggest_float("subsample", 0.3, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
    }
    callbacks = [Note(), XGBoostPruningCallback(trial, "valid-mlogloss")]
    result = {}
    with training():
        xgb.train(
            {**fixed, **params}, train, 81, evals=[(valid, "valid")], evals_result=result, verbose_eval=False,
            callbacks=callbacks,
        )  # fmt: skip
    return min(result["valid"]["mlogloss"])


optuna.logging.set_verbosity(optuna.logging.WARNING)
pruner = optuna.pruners.HyperbandPruner(max_resource=81)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
study.optimize(objective)
