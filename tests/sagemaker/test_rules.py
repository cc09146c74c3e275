"""The service's rules between fields: each refused request names the path, as the user wrote it."""

import copy

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import tuner_from_request
from hpo_plugins.sagemaker.hyperparameters import range_around

from .examples import changed, load, make

CONFIG = "HyperParameterTuningJobConfig"
RANGES = (CONFIG, "ParameterRanges")
X = {"Name": "x", "MinValue": "1", "MaxValue": "9"}


def refuses(request, message, **arguments):
    with pytest.raises(hpo.HpoError) as raised:
        tuner_from_request(request, **arguments)
    assert str(raised.value).startswith(message), str(raised.value)


def with_ranges(**lists):
    return changed(load("smallest"), RANGES, {f"{kind}ParameterRanges": ranges for kind, ranges in lists.items()})


@pytest.mark.parametrize(
    ("low", "high", "scaling", "message"),
    [
        ("0", "1", "Logarithmic", "[2].MinValue must be > 0 with ScalingType Logarithmic, but got '0'"),
        ("1e-9", "1", "Logarithmic", None),
        ("0", "0.999", "ReverseLogarithmic", None),
        ("0", "1", "ReverseLogarithmic", "[2].MaxValue must be < 1 with ScalingType ReverseLogarithmic, but got '1'"),
        ("-0.1", "0.5", "ReverseLogarithmic", "[2].MinValue must be >= 0 with ScalingType ReverseLogarithmic"),
        ("2", "1", "Linear", "[2].MinValue must be at most MaxValue, 1, but got '2'"),
        ("1", "1", "Auto", None),
        ("nan", "1", "Auto", '[2].MinValue must be a number in a string, such as "0.1" or "1e-4", but got \'nan\''),
        ("0", "1e999", "Auto", "[2].MaxValue must be a finite number"),
        ("1_0", "20", "Auto", "[2].MinValue must be a number in a string"),
        ("", "1", "Auto", "[2].MinValue must be a number in a string"),
        (0, "1", "Auto", '[2].MinValue must be a string, but got 0. Write it as "0".'),
        (
            "0",
            "1",
            "Log",
            "[2].ScalingType must be one of Auto, Linear, Logarithmic, ReverseLogarithmic, but got 'Log'",
        ),
    ],
)
def test_continuous_bounds_must_fit_their_scale(low, high, scaling, message):
    ranges = [{**X, "Name": "a"}, {**X, "Name": "b"}]
    ranges.append({"Name": "c", "MinValue": low, "MaxValue": high, "ScalingType": scaling})
    request = with_ranges(Continuous=ranges)
    if message is None:
        assert make(request).space["c"].low == float(low)
    else:
        refuses(request, f"{CONFIG}.ParameterRanges.ContinuousParameterRanges{message}")


@pytest.mark.parametrize(
    ("low", "high", "scaling", "message"),
    [
        ("1", "9", "Logarithmic", None),
        ("0", "9", "Logarithmic", "MinValue must be > 0"),
        ("0", "9", "ReverseLogarithmic", "ScalingType must be Auto, Linear or Logarithmic for an integer"),
        ("1.0", "9", "Auto", "MinValue must be a whole number in a string, such as \"8\", but got '1.0'"),
        ("1", "1e3", "Auto", "MaxValue must be a whole number in a string"),
        ("9", "1", "Auto", "MinValue must be at most MaxValue"),
        ("-9", "9", "Linear", None),
        ("9" * 256, "9" * 256, "Linear", None),
    ],
)
def test_integer_bounds_must_fit_their_scale(low, high, scaling, message):
    request = with_ranges(Integer=[{"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}])
    if message is None:
        assert make(request).ask()["x"] >= int(low)
    else:
        refuses(request, f"{CONFIG}.ParameterRanges.IntegerParameterRanges[0].{message}")


def test_parameter_names_are_unique():
    where = f"{CONFIG}.ParameterRanges"
    refuses(
        with_ranges(Integer=[X], Continuous=[X]), f"{where}.ContinuousParameterRanges[0].Name must be a name that no"
    )
    refuses(
        with_ranges(Continuous=[X | {"Name": ""}]), f"{where}.ContinuousParameterRanges[0].Name must be a non-empty"
    )
    twice = with_ranges(Categorical=[{"Name": "x", "Values": ["a", "b", "a"]}])
    refuses(twice, f"{where}.CategoricalParameterRanges[0].Values[2] must be a value that is not repeated")
    request = changed(load("xgboost_bayesian"), ("TrainingJobDefinition", "StaticHyperParameters"), {"eta": "1"})
    refuses(
        request, f"{where}.ContinuousParameterRanges[0].Name must be a name that is not also static, but got 'eta'. It"
    )


@pytest.mark.parametrize(("count", "fine"), [(30, True), (31, False)])
def test_ranges_are_at_most_thirty(count, fine):
    names = [{**X, "Name": f"x{index}"} for index in range(count)]
    request = with_ranges(Continuous=names[:15], Integer=names[15:])
    if fine:
        assert len(make(request).space) == count
    else:
        refuses(request, f"{CONFIG}.ParameterRanges must have at most 30 ranges in all, but has 31")


@pytest.mark.parametrize(("count", "fine"), [(98, True), (99, False)])
def test_hyperparameters_are_at_most_a_hundred(count, fine):
    static = {f"s{index}": "1" for index in range(count)}
    request = load("smallest") | {"TrainingJobDefinition": load("grid")["TrainingJobDefinition"]}
    request["TrainingJobDefinition"]["StaticHyperParameters"] = static
    if fine:
        assert len(make(request).ask().params) == 99
    else:
        refuses(request, f"{CONFIG}.ParameterRanges and the static hyperparameters must be at most 99 together")


def test_request_must_tune_at_least_one_parameter():
    refuses(with_ranges(), f"{CONFIG}.ParameterRanges must have at least one range")
    request = load("smallest")
    del request[CONFIG]["ParameterRanges"]
    refuses(request, f"{CONFIG}.ParameterRanges must be given, but is missing")
    refuses(request[CONFIG], "ParameterRanges must be given, but is missing")


@pytest.mark.parametrize(
    ("strategy", "jobs", "fine"),
    [
        ("Bayesian", 750, True),
        ("Bayesian", 751, False),
        ("Hyperband", 750, True),
        ("Hyperband", 751, False),
        ("Random", 10_000, True),
        ("Random", 10_001, False),
    ],
)
def test_job_limit_depends_on_the_strategy(strategy, jobs, fine):
    request = changed(load("hyperband_epochs"), (CONFIG, "ResourceLimits", "MaxNumberOfTrainingJobs"), jobs)
    request[CONFIG]["Strategy"] = strategy
    if strategy != "Hyperband":
        del request[CONFIG]["StrategyConfig"]
    if fine:
        assert make(request).study.max_trials == jobs
    else:
        refuses(request, f"{CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs must be at most {jobs - 1} with Strategy")


def test_parallel_jobs_are_at_most_a_hundred():
    path = (CONFIG, "ResourceLimits", "MaxParallelTrainingJobs")
    assert make(changed(load("smallest"), path, 100)).study.max_parallel == 100
    refuses(
        changed(load("smallest"), path, 101), f"{CONFIG}.ResourceLimits.MaxParallelTrainingJobs must be at most 100"
    )


def test_grid_needs_categories_and_its_exact_job_count():
    request = changed(load("grid_counted"), (CONFIG, "ResourceLimits", "MaxNumberOfTrainingJobs"), 7)
    refuses(request, f"{CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs must be 6, the number of combinations, with Str")
    request = changed(load("config_only"), ("Strategy",), "Grid")
    refuses(request, "ParameterRanges.ContinuousParameterRanges[0] must be a categorical parameter with Strategy Grid")


def test_hyperband_needs_a_max_resource():
    where = "StrategyConfig.HyperbandStrategyConfig"
    request = load("hyperband_epochs")
    static = ("TrainingJobDefinition", "StaticHyperParameters")
    refuses(
        changed(request, static, {"rounds": "9"}), f"{CONFIG}.{where}.MaxResource must be given, since none of epochs"
    )
    refuses(load("config_only") | {"Strategy": "Hyperband"}, f"{where}.MaxResource must be given, since none of")
    for value in ("ten", "0", "1.5", "", "-3", "²"):
        epochs = changed(request, static, {"epochs": value})
        refuses(
            epochs, "TrainingJobDefinition.StaticHyperParameters.epochs must be a whole number of epochs of at least"
        )
    for name in ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"):
        assert make(changed(request, static, {name: "20000"})).strategy.max_resource == 20_000
    dashed = changed(request, static, {"n-epochs": "20001"})
    refuses(dashed, "TrainingJobDefinition.StaticHyperParameters['n-epochs'] must be at most 20000 epochs")
    low = changed(request, static, {"epochs": "2"})
    refuses(low, f"{CONFIG}.{where}.MinResource must be at most MaxResource, 2, but got 3")
    path = (CONFIG, "StrategyConfig", "HyperbandStrategyConfig", "MaxResource")
    assert make(changed(load("hyperband"), path, 20_000)).strategy.max_resource == 20_000
    refuses(changed(load("hyperband"), path, 20_001), f"{CONFIG}.{where}.MaxResource must be at most 20000 epochs")
    random = changed(load("hyperband"), (CONFIG, "Strategy"), "Random")
    refuses(random, f"{CONFIG}.{where} must be left out with Strategy Random")


def test_hyperband_refuses_early_stopping():
    path = (CONFIG, "TrainingJobEarlyStoppingType")
    refuses(
        changed(load("hyperband"), path, "Auto"), f"{CONFIG}.TrainingJobEarlyStoppingType must be Off with Strategy H"
    )
    assert make(changed(load("xgboost_bayesian"), path, "Auto")).study.early_stopping == hpo.MedianRule()


def test_objective_is_given_once_and_is_a_known_metric():
    request = load("early_stopping")
    path = (CONFIG, "HyperParameterTuningJobObjective")
    refuses(
        changed(request, (*path, "MetricName"), "loss"),
        f"{CONFIG}.HyperParameterTuningJobObjective.MetricName must be one of the MetricDefinitions of "
        "TrainingJobDefinition.AlgorithmSpecification, validation:logloss, lr, but got 'loss'",
    )
    twice = changed(request, ("TrainingJobDefinition", "TuningObjective"), {"Type": "Minimize", "MetricName": "lr"})
    refuses(twice, f"{CONFIG}.HyperParameterTuningJobObjective must be left out beside TrainingJobDefinition.TuningObj")
    del twice[CONFIG]["HyperParameterTuningJobObjective"]
    assert make(twice).objective.metric == "lr"
    del twice["TrainingJobDefinition"]["TuningObjective"]
    refuses(twice, f"{CONFIG}.HyperParameterTuningJobObjective must be given")


def test_algorithm_has_either_an_image_or_a_name():
    request = changed(load("grid"), ("TrainingJobDefinition", "AlgorithmSpecification", "AlgorithmName"), "mine")
    refuses(request, "TrainingJobDefinition.AlgorithmSpecification.AlgorithmName must be left out beside TrainingImage")


def test_several_definitions_each_have_all_settings():
    request = load("several_definitions")
    for needed in ("DefinitionName", "TuningObjective", "HyperParameterRanges"):
        lacking = copy.deepcopy(request)
        del lacking["TrainingJobDefinitions"][1][needed]
        refuses(lacking, f"TrainingJobDefinitions[1].{needed} must be given if there are several definitions")
    same = changed(request, ("TrainingJobDefinitions", 1, "DefinitionName"), "xgboost")
    refuses(same, "TrainingJobDefinitions[1].DefinitionName must be a name that no other definition has")
    other = changed(request, ("TrainingJobDefinitions", 1, "TuningObjective", "Type"), "Minimize")
    refuses(other, "TrainingJobDefinitions[1].TuningObjective.Type must be Maximize, as in the first definition")
    both = request | {"TrainingJobDefinition": request["TrainingJobDefinitions"][0]}
    refuses(both, "TrainingJobDefinitions must be left out beside TrainingJobDefinition")
    early = changed(request, (CONFIG, "TrainingJobEarlyStoppingType"), "Auto")
    refuses(early, f"{CONFIG}.TrainingJobEarlyStoppingType must be Off if there are several definitions")
    warm = request | {"WarmStartConfig": load("warm_start_transfer")["WarmStartConfig"]}
    refuses(warm, "WarmStartConfig must be left out if there are several definitions")
    objective = changed(request, (CONFIG, "HyperParameterTuningJobObjective"), {"Type": "Maximize", "MetricName": "m"})
    refuses(objective, f"{CONFIG}.HyperParameterTuningJobObjective must be left out")


def test_list_of_one_definition_equals_that_definition():
    request = load("several_definitions")
    request["TrainingJobDefinitions"] = request["TrainingJobDefinitions"][:1]
    tuner = make(request)
    assert tuner.ask().definition is None
    assert tuner.objective == hpo.Maximize("validation:auc", at="last")


def test_autotune_without_limits_stops_on_convergence():
    assert make(load("autotune")).study.stop_when == (hpo.Converged(),)
    assert make(load("everything")).study.max_trials == 500


@pytest.mark.parametrize(
    ("hint", "parameter"),
    [
        ("8", hpo.Integer(1, 80, scale="log")),
        ("100", hpo.Integer(10, 1000, scale="log")),
        ("0", hpo.Integer(0, 10)),
        ("-3", hpo.Integer(-30, 0)),
        ("0.01", hpo.Continuous(0.001, 0.1, scale="log")),
        ("0.9", hpo.Continuous(0.09, 1.0, scale="log")),
        ("2.5", hpo.Continuous(0.25, 25.0, scale="log")),
        ("0.0", hpo.Continuous(0, 1)),
        ("true", hpo.Categorical(["true", "false"])),
        ("False", hpo.Categorical(["False", "True"])),
        ("adam", hpo.Categorical(["adam"])),
        ("inf", hpo.Categorical(["inf"])),
    ],
)
def test_auto_parameters_become_ranges_around_hints(hint, parameter):
    assert range_around(hint) == parameter


# Warm start.


def parents(request, **arguments):
    """Two studies of a request's space, each with a trial, in a storage."""
    single = {key: value for key, value in request.items() if key != "WarmStartConfig"}
    for name in ("parent-1", "parent-2"):
        tuner = tuner_from_request(single, name=name, **arguments)
        for trial in tuner:
            trial.report(1, {tuner.objective.metric: 0.5})
            if trial.number == 1:
                break
    return arguments["storage"]


@pytest.mark.parametrize("name", ["warm_start_transfer", "warm_start_identical"])
def test_parent_jobs_are_loaded_by_name(name, tmp_path):
    request = load(name)
    storage = parents(request, storage=tmp_path / "a.db")
    study = tuner_from_request(request, storage=storage).study
    assert [(parent.name, len(parent.records)) for parent in study.parents.studies] == [
        ("parent-1", 2),
        ("parent-2", 2),
    ]
    assert study.parents.identical is name.endswith("identical")


def test_missing_parent_jobs_are_named(tmp_path):
    request = load("warm_start_transfer")
    where = "WarmStartConfig.ParentHyperParameterTuningJobs[0].HyperParameterTuningJobName"
    refuses(request, f"{where} names a study that was not found: No study 'parent-1' in memory: it holds none.")
    hpo.Tuner({"x": hpo.Integer(1, 2)}, hpo.Minimize("loss"), storage=tmp_path / "a.db", name="other")
    refuses(request, f"{where} names a study that was not found: No study 'parent-1'", storage=tmp_path / "a.db")
    nameless = changed(request, ("WarmStartConfig", "ParentHyperParameterTuningJobs", 0), {})
    refuses(nameless, f"{where} must be given")
    itself = request | {"HyperParameterTuningJobName": "parent-1"}
    refuses(itself, f"{where} must be the name of another job, but got 'parent-1'", storage=tmp_path / "a.db")
    refuses(request, "warm_start must have a parent for each of the 2 jobs", warm_start=[])


def test_parents_must_match_the_request(tmp_path):
    request = load("warm_start_transfer")
    storage = parents(request, storage=tmp_path / "a.db")
    loss = changed(request, (CONFIG, "HyperParameterTuningJobObjective", "MetricName"), "loss")
    refuses(loss, "WarmStartConfig does not fit: warm_start must have parents with the same objective", storage=storage)
    fewer = changed(request, ("TrainingJobDefinition", "StaticHyperParameters"), {})
    refuses(fewer, "WarmStartConfig does not fit: warm_start must have parents with the same hyper", storage=storage)


def test_identical_parents_share_data_and_algorithm(tmp_path):
    request = load("warm_start_identical")
    storage = parents(request, storage=tmp_path / "a.db")
    where = "WarmStartConfig.ParentHyperParameterTuningJobs[0].HyperParameterTuningJobName must be a job with the same"
    for path, message in (
        (("InputDataConfig", 0, "ChannelName"), "data (TrainingJobDefinition.InputDataConfig)"),
        (("AlgorithmSpecification", "TrainingImage"), "algorithm (TrainingJobDefinition.AlgorithmSpecification)"),
    ):
        other = changed(request, ("TrainingJobDefinition", *path), "other")
        refuses(other, f"{where} {message} for IdenticalDataAndAlgorithm", storage=storage)
        other["WarmStartConfig"]["WarmStartType"] = "TransferLearning"
        assert tuner_from_request(other, storage=storage, name=f"transfer-{path[-1]}").study.parents is not None


def test_parent_jobs_count_towards_the_limit(tmp_path):
    request = load("warm_start_transfer")
    storage = parents(request, storage=tmp_path / "a.db")
    path = (CONFIG, "ResourceLimits", "MaxNumberOfTrainingJobs")
    message = (
        f"{CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs must be at most 750 with Strategy Bayesian, "
        "including the parents' jobs"
    )
    refuses(changed(request, path, 747), message, storage=storage)
    assert tuner_from_request(changed(request, path, 746), storage=storage).study.max_trials == 746
