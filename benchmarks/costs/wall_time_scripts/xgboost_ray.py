import xgboost as xgb
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from watch import digits, note, training

fixed = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "mlogloss", "nthread": 1}


class Note(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        note(loss=evals_log["valid"]["mlogloss"][-1])


class Report(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        tune.report({"loss": evals_log["valid"]["mlogloss"][-1]})


def run(params):
    train, valid = (xgb.DMatrix(x, y) for x, y in digits())
    callbacks = [Note(), Report()]
    with training():
        xgb.train({**fixed, **params}, train, 81, evals=[(valid, "valid")], verbose_eval=False, callbacks=callbacks)


space = {
    "eta": tune.loguniform(0.005, 1.0),
    "max_depth": tune.randint(1, 11),
    "min_child_weight": tune.loguniform(0.1, 50),
    "subsample": tune.uniform(0.3, 1.0),
    "colsample_bytree": tune.uniform(0.3, 1.0),
}
config = tune.TuneConfig(
    metric="loss", mode="min", num_samples=-1, scheduler=ASHAScheduler(max_t=81), max_concurrent_trials=1
)
tune.Tuner(run, param_space=space, tune_config=config, run_config=tune.RunConfig(verbose=0)).fit()
