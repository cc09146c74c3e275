"""The shipped spaces: beliefs inside their ranges, rules that hold, and names that the frameworks take."""

import itertools

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.space import Space
from hpo_plugins.spaces.made import learned

MAKERS = {name: getattr(hpo.spaces, name) for name in hpo.spaces.__all__}
N_ROUNDS = 5


@pytest.mark.parametrize("name", MAKERS)
def test_every_space_is_a_new_dict_that_believes_in_every_choice(name):
    space = MAKERS[name]()
    assert space == MAKERS[name]()
    assert space is not MAKERS[name]()
    assert all(parameter.prior is not None for parameter in space.values() if parameter.size != 1)
    assert Space(space).checked(Space(space).mode)


@pytest.mark.parametrize("name", MAKERS)
def test_a_portfolio_is_made_of_different_configurations_of_the_space(name):
    space, portfolio = Space(MAKERS[name]()), MAKERS[name](portfolio=8)
    assert len({Space.key(space.checked(params)) for params in portfolio}) == 8
    assert portfolio[0] == space.mode
    assert portfolio[:3] == MAKERS[name](portfolio=3)
    hpo.Tuner(MAKERS[name](), hpo.Minimize("loss"), points_to_evaluate=portfolio, max_trials=9, seed=0)


def test_a_space_can_be_changed_and_extended():
    space = {**hpo.spaces.adamw(), "width": hpo.Integer(16, 512, scale="log")}
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), max_trials=2, seed=0)
    first = tuner.ask().params
    assert first["lr"] == space["lr"].prior
    assert list(first) == list(space)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
def test_more_rounds_mean_smaller_steps_and_more_rows_larger_trees(name):
    make = MAKERS[name]
    rounds = "iterations" if name == "catboost" else "num_boost_round"
    rate = "eta" if name == "xgboost" else "learning_rate"
    size = {"xgboost": "max_depth", "lightgbm": "num_leaves", "catboost": "depth"}[name]
    rates = [make(**{rounds: n})[rate].prior for n in (1, 50, 200, 1000, 10**6)]
    sizes = [make(rows=n)[size].prior for n in (1, 300, 3_000, 300_000, 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] > rates[3]
    assert sizes == sorted(sizes)
    assert sizes[1] < sizes[3]


@pytest.mark.parametrize("features", [1, 2, 3, 10, 10_000])
def test_each_tree_sees_two_columns_if_there_are_two(features):
    for name, share in (("xgboost", "colsample_bytree"), ("lightgbm", "feature_fraction")):
        low = MAKERS[name](features=features)[share].low
        assert low * features >= min(2, features) - 1e-9


def test_a_row_counts_fully_in_a_regression():
    classes, numbers = (hpo.spaces.xgboost(task)["min_child_weight"].prior for task in ("classification", "regression"))
    assert numbers == pytest.approx(4 * classes, rel=0.01)


def test_learning_rates_follow_batch_size_and_steps():
    for make, power in ((hpo.spaces.adamw, 0.5), (hpo.spaces.sgd, 1.0)):
        small, large = (make(batch_size=n)["lr"].prior for n in (32, 128))
        assert large / small == pytest.approx(4**power, rel=0.02)
    rates = [hpo.spaces.adamw(steps=n)["lr"].prior for n in (1, 1_000, 10_000, 100_000, 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert hpo.spaces.adamw(batch_size=48)["batch_size"].prior == 48


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_names_are_those_of_each_framework_and_values_the_same(name):
    named = [MAKERS[name](names=each) for each in ("torch", "keras", "optax")]
    for one, other in itertools.pairwise(named):
        assert list(one.values()) == list(other.values())
    assert "lr" in named[0]
    assert "learning_rate" in named[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.spaces.xgboost("ranking"), "task must be 'classification' or 'regression'"),
        (lambda: hpo.spaces.xgboost(task=None), "task must be 'classification' or 'regression'"),
        (lambda: hpo.spaces.xgboost(rows=0), "rows must be a whole number of at least 1"),
        (lambda: hpo.spaces.lightgbm(features=2.5), "features must be a whole number"),
        (lambda: hpo.spaces.xgboost(num_boost_round=-1), "num_boost_round must be a whole number"),
        (lambda: hpo.spaces.catboost(iterations=0), "iterations must be a whole number"),
        (lambda: hpo.spaces.adamw(names="jax"), "names must be 'torch', 'keras' or 'optax'"),
        (lambda: hpo.spaces.adamw(steps=0), "steps must be a whole number"),
        (lambda: hpo.spaces.sgd(batch_size=0), "batch_size must be a whole number"),
        (lambda: hpo.spaces.transformers_finetuning(batch_size="8"), "batch_size must be a whole number"),
        (lambda: hpo.spaces.lora(portfolio=0), "portfolio must be a whole number of at least 1"),
        (lambda: hpo.spaces.lora(portfolio=True), "portfolio must be a whole number"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        make()


def test_nothing_was_learned_from_the_data_sets_that_judge():
    ids = learned()["xgboost"]["data_sets"]
    assert len(set(ids)) == 44
    assert {12, 54, 181, 1501} <= set(ids)
    assert not [number for number in ids if number in (16, 40499) or number % 10 in (3, 7, 9)]


# The frameworks take the configurations as they are.

X = np.random.default_rng(0).random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)


@pytest.mark.framework
def test_xgboost_trains_with_a_configuration():
    xgb = pytest.importorskip("xgboost")
    for params in hpo.spaces.xgboost(rows=60, features=3, portfolio=2):
        fixed = {"objective": "binary:logistic", "nthread": 1, "validate_parameters": True}
        booster = xgb.train({**fixed, **params}, xgb.DMatrix(X, Y), N_ROUNDS)
        assert booster.num_boosted_rounds() == N_ROUNDS


@pytest.mark.framework
def test_lightgbm_trains_with_a_configuration():
    lgb = pytest.importorskip("lightgbm")
    for params in hpo.spaces.lightgbm(rows=60, features=3, portfolio=2):
        fixed = {"objective": "binary", "num_threads": 1, "verbose": -1}
        assert lgb.train({**fixed, **params}, lgb.Dataset(X, Y), N_ROUNDS).num_trees() == N_ROUNDS


@pytest.mark.framework
def test_catboost_trains_with_a_configuration(tmp_path):
    catboost = pytest.importorskip("catboost")
    for params in hpo.spaces.catboost(rows=60, portfolio=2):
        for target in (Y, np.arange(60) % 3):  # two classes and three have different defaults
            model = catboost.CatBoostClassifier(
                iterations=N_ROUNDS, thread_count=1, verbose=False, train_dir=str(tmp_path), **params
            )
            assert model.fit(X, target).tree_count_ == N_ROUNDS


@pytest.mark.framework
def test_torch_takes_the_optimisers_names():
    torch = pytest.importorskip("torch")
    weights = [torch.nn.Parameter(torch.zeros(2))]
    adamw, sgd = Space(hpo.spaces.adamw()).mode, Space(hpo.spaces.sgd()).mode
    torch.optim.AdamW(weights, adamw["lr"], (adamw["beta1"], adamw["beta2"]), weight_decay=adamw["weight_decay"])
    torch.optim.SGD(weights, **{name: sgd[name] for name in ("lr", "weight_decay", "momentum", "nesterov")})


@pytest.mark.framework
def test_transformers_takes_a_configuration(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    params = Space(hpo.spaces.transformers_finetuning()).mode
    made = transformers.TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True, **params)
    assert made.learning_rate == params["learning_rate"]


@pytest.mark.framework
def test_peft_takes_the_names_of_an_adapter():
    peft = pytest.importorskip("peft")
    params = dict(Space(hpo.spaces.lora()).mode)
    params.pop("learning_rate")
    assert peft.LoraConfig(**params).r == 16
