import xgboost as xgb
from hpo_plugins.integrations.xgboost import TrialCallback
from watch import digits, note, training

import hpo_plugins as hpo

train, valid = (xgb.DMatrix(x, y) for x, y in digits())
fixed = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss", "nthread": 1}


class Note(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        note(loss=evals_log["valid"]["mlogloss"][-1])


space = {
    "eta": hpo.Continuous(0.005, 1.0, scale="log"),
    "max_depth": hpo.Integer(1, 10),
    "min_child_weight": hpo.Continuous(0.1, 50, scale="log"),
    "subsample": hpo.Continuous(0.3, 1.0),
    "colsample_bytree": hpo.Continuous(0.3, 1.0),
}
tuner = hpo.Tuner(
    space, hpo.Minimize("valid-mlogloss"), strategy=hpo.Hyperband(max_resource=81), seed=0, progress="off"
)
for trial in tuner:
    callbacks = [Note(), TrialCallback(trial)]
    with training():
        xgb.train(
            {**fixed, **trial.params}, train, 81, evals=[(valid, "valid")], verbose_eval=False, callbacks=callbacks
        )
