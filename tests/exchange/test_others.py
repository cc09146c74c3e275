import json
import math
import os

import numpy as np
import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.exchange import import_studies

os.environ.setdefault("KERAS_BACKEND", "torch")
LOSS = hpo.Minimize("val_loss")


# Tables.


def table(**columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(columns)


def test_rows_are_trials_and_columns_are_parameters(tmp_path):
    frame = table(lr=[1e-4, 0.5, 0.01], layers=[2, 3, 4], act=["relu", "elu", "relu"], val_loss=[0.5, 0.4, math.nan])
    tuner = import_studies(frame, tmp_path / "tuning.db", objective=LOSS, name="mine")[0].tuner
    assert tuner.name == "mine"
    assert [trial.params for trial in tuner.trials] == frame.drop(columns="val_loss").to_dict("records")
    assert [trial.value for trial in tuner.trials] == [0.5, 0.4, None]
    assert [trial.state.value for trial in tuner.trials] == ["completed", "completed", "failed"]
    assert tuner.space["lr"] == hpo.Continuous(1e-4, 0.5)
    assert tuner.space["layers"] == hpo.Integer(2, 4)
    assert tuner.space["act"] == hpo.Categorical(["elu", "relu"])


def test_rows_with_an_epoch_are_curves(tmp_path):
    path = tmp_path / "curves.csv"
    lines = [
        "trial,epoch,params.lr,val_loss,acc",
        "a,0,0.1,3,x",
        "a,1,0.1,2,x",
        "b,0,0.2,5,x",
        "b,1,0.2,,x",
        "b,2,0.2,4,x",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    command = ["import", str(path), "--to", str(tmp_path / "tuning.db"), "--minimize", "val_loss"]
    result = CliRunner().invoke(main, command)
    assert result.output == f"Imported 'curves' to {tmp_path / 'tuning.db'}: 2 trials.\n"
    trials = hpo.Tuner.load(tmp_path / "tuning.db").trials
    assert [trial.curve for trial in trials] == [{1: 3.0, 2: 2.0}, {1: 5.0, 3: 4.0}]
    assert [trial.params for trial in trials] == [{"lr": 0.1}, {"lr": 0.2}]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_our_own_export_is_read_back(form, tmp_path):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    space = {"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["a", "b"]), "n": hpo.Integer(1, 9, when={"k": "a"})}
    tuner = hpo.Tuner(space, LOSS, max_trials=8, seed=0, storage=tmp_path / "tuning.db", name="t")
    for trial in tuner:
        trial.report(1, {"val_loss": trial["x"]})
    file = tmp_path / f"table.{form}"
    assert (
        CliRunner().invoke(main, ["export", str(tmp_path / "tuning.db"), "--format", form, "-o", str(file)]).exit_code
        == 0
    )
    back = import_studies(file, tmp_path / "back.db", objective=hpo.Minimize("value"))[0].tuner
    for ours, theirs in zip(tuner.trials, back.trials, strict=True):
        assert (ours.params, ours.value) == (theirs.params, theirs.value)
    assert dict(back.space["n"].when) == {"k": ("a",)}


def test_export_of_weights_and_biases_is_read(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(
        '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","lr","depth","val_loss"\n'
        '"calm-1","finished","-","me","","2026-01-01T00:00:00.000Z","31","","0.1","3","0.4"\n'
        '"calm-2","crashed","-","me","","2026-01-01T00:00:00.000Z","3","","0.2","4",""\n'
        '"calm-3","finished","-","me","","2026-01-01T00:00:00.000Z","30","","0.3","5","0.3"\n',
        encoding="utf-8",
    )
    tuner = import_studies(path, tmp_path / "tuning.db", objective=LOSS)[0].tuner
    assert [trial.params for trial in tuner.trials] == [
        {"lr": 0.1, "depth": 3},
        {"lr": 0.2, "depth": 4},
        {"lr": 0.3, "depth": 5},
    ]
    assert [trial.value for trial in tuner.trials] == [0.4, None, 0.3]


def test_results_of_a_grid_search_are_read(tmp_path):
    pd, sklearn = pytest.importorskip("pandas"), pytest.importorskip("sklearn.model_selection")
    from sklearn.datasets import load_iris
    from sklearn.svm import SVC

    search = sklearn.GridSearchCV(SVC(), {"C": [0.1, 1.0], "kernel": ["rbf", "linear"]}).fit(
        *load_iris(return_X_y=True)
    )
    frame = pd.DataFrame(search.cv_results_)
    tuner = import_studies(frame, tmp_path / "t.db", objective=hpo.Maximize("mean_test_score"))[0].tuner
    assert [trial.params for trial in tuner.trials] == search.cv_results_["params"]
    assert tuner.best_trial.params == search.best_params_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": hpo.Minimize("loss")}, "no column 'loss'.*Did you mean 'val_loss'"),
        ({"objective": None}, "objective must be given"),
        ({"objective": "val_loss"}, "objective must be Minimize"),
        ({"params": ["rate"]}, "no column 'rate'"),
        ({"kind": "csv"}, "kind must be"),
        ({"name": ""}, "name must be"),
        ({"source": "nothing.csv"}, "no 'nothing.csv'"),
        ({"source": 3}, "source must be a path"),
        ({"source": "postgresql://host/db"}, "kind must be given for a URL"),
        ({"space": {"lr": hpo.Continuous(2, 3)}}, "no trial to import"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    given = {"source": table(lr=[0.1, 0.2], val_loss=[1.0, 2.0]), "objective": LOSS} | arguments
    with pytest.raises(hpo.InvalidArgument, match=message):
        import_studies(given.pop("source"), tmp_path / "tuning.db", **given)


@pytest.mark.parametrize("text", ["", "a,b\n", "{", "\x00\x01"])
def test_file_that_is_no_table_is_named(text, tmp_path):
    path = tmp_path / ("t.json" if text == "{" else "t.csv")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(hpo.InvalidArgument, match=r"table|column"):
        import_studies(path, tmp_path / "tuning.db", objective=LOSS)


def test_database_of_something_else_is_named(tmp_path):
    hpo.Tuner({"x": hpo.Continuous(0, 1)}, LOSS, storage=tmp_path / "ours.db").ask()
    with pytest.raises(hpo.InvalidArgument, match="neither Optuna's nor MLflow's"):
        import_studies(tmp_path / "ours.db", tmp_path / "tuning.db")


# KerasTuner.


@pytest.mark.filterwarnings("ignore")
@pytest.mark.framework
@pytest.mark.full
def test_project_of_keras_tuner_is_imported(tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner", exc_type=ImportError)
    import keras

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")

    def build(hp):
        kind = hp.Choice("optimizer", ["sgd", "adam"])
        rate = hp.Float("lr", 1e-4, 1e-1, sampling="log")
        units = hp.Int("units", 2, 8, step=2)
        if kind == "sgd":
            with hp.conditional_scope("optimizer", ["sgd"]):
                hp.Float("momentum", 0.0, 0.9)
        bias = hp.Boolean("bias")
        model = keras.Sequential(
            [keras.layers.Dense(units, use_bias=bias), keras.layers.Dense(2, activation="softmax")]
        )
        model.compile(
            {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[kind](rate),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    tuner = keras_tuner.RandomSearch(
        build, objective="val_loss", max_trials=6, seed=0, directory=str(tmp_path), project_name="project"
    )
    tuner.search(x[:48], y[:48], validation_data=(x[48:], y[48:]), epochs=2, verbose=0)
    (found,) = import_studies(tmp_path / "project", tmp_path / "tuning.db")
    ours = found.tuner
    assert ours.name == "project"
    assert ours.objective == hpo.Minimize("val_loss")
    assert ours.space["lr"] == hpo.Continuous(1e-4, 1e-1, scale="log")
    assert dict(ours.space["momentum"].when) == {"optimizer": ("sgd",)}
    theirs = [tuner.oracle.trials[each] for each in sorted(tuner.oracle.trials)]
    for record, trial in zip(ours.trials, theirs, strict=True):
        active = {name: value for name, value in trial.hyperparameters.values.items() if name in record.params}
        assert record.params == active
        assert record.value == trial.score
        assert record.state is hpo.TrialState.COMPLETED
        assert record.best_epoch == trial.best_step + 1
    best = tuner.oracle.get_best_trials(1)[0]
    assert ours.best_trial.value == best.score
    assert ours.space["units"].step == 2


def test_project_without_a_clear_objective_asks_for_it(tmp_path):
    trial = {
        "trial_id": "0", "status": "COMPLETED", "score": 1.0, "best_step": 0,
        "hyperparameters": {"space": [{"class_name": "Float",
                                       "config": {"name": "x", "min_value": 0.0, "max_value": 1.0}}],
                            "values": {"x": 0.5, "tuner/epochs": 3}},
        "metrics": {"metrics": {name: {"direction": "min", "observations": [{"value": [1.0], "step": 0}]}
                                for name in ("loss", "val_loss")}},
    }  # fmt: skip
    (tmp_path / "p" / "trial_0").mkdir(parents=True)
    (tmp_path / "p" / "trial_0" / "trial.json").write_text(json.dumps(trial), encoding="utf-8")
    with pytest.raises(hpo.InvalidArgument, match="it may be 'loss', 'val_loss'"):
        import_studies(tmp_path / "p", tmp_path / "tuning.db")
    with pytest.raises(hpo.InvalidArgument, match="Did you mean 'val_loss'"):
        import_studies(tmp_path / "p", tmp_path / "tuning.db", metric="val_los")
    tuner = import_studies(tmp_path / "p", tmp_path / "tuning.db", metric="val_loss")[0].tuner
    assert tuner.trials[0].params == {"x": 0.5}


# MLflow.


@pytest.mark.filterwarnings("ignore")
def test_runs_of_mlflow_are_imported_with_their_curves(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("churn", artifact_location=str(tmp_path / "artifacts"))
    expected = []
    for number, (rate, kind) in enumerate([(0.1, "a"), (0.02, "b"), (0.3, "a")]):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "lr", rate)
        client.log_param(run, "kind", kind)
        client.log_param(run, "fixed", 7)
        curve = {epoch: rate + 1 / epoch for epoch in range(1, 4 - (number == 2))}
        for epoch, value in curve.items():
            client.log_metric(run, "val_loss", value, step=epoch)
        client.set_terminated(run, "FAILED" if number == 1 else "FINISHED")
        expected.append((rate, kind, curve))
    client.create_run(experiment)
    (found,) = import_studies(tmp_path / "mlflow.db", tmp_path / "tuning.db", objective=LOSS)
    tuner = found.tuner
    assert tuner.name == "churn"
    assert [(t.params["lr"], t.params["kind"], t.curve) for t in tuner.trials] == expected
    assert [t.state.value for t in tuner.trials] == ["completed", "failed", "completed"]
    assert list(tuner.space) == ["lr", "kind"]
    assert any("1 runs were not finished" in remark for remark in found.remarks)
    with pytest.raises(hpo.InvalidArgument, match="study must be one of"):
        import_studies(tmp_path / "mlflow.db", tmp_path / "other.db", objective=LOSS, study="x")
