import xgboost as xgb
from watch import digits, note, training

train, valid = (xgb.DMatrix(x, y) for x, y in digits())
fixed = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss", "nthread": 1}


class Note(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        note(loss=evals_log["valid"]["mlogloss"][-1])


params = {"eta": 0.3, "max_depth": 6, "min_child_weight": 1.0, "subsample": 1.0, "colsample_bytree": 1.0}
with training():
    xgb.train({**fixed, **params}, train, 81, evals=[(valid, "valid")], verbose_eval=False, callbacks=[Note()])
