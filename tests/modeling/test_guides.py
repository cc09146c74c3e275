"""Beliefs steer the first configurations, and are dropped if results contradict them."""

import numpy as np
import pytest
from scipy.stats import rankdata

import hpo_plugins as hpo
from hpo_plugins.modeling.guides import MIN_JUDGES, average_ranks, believed_space, trust_in_belief
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

EPOCHS = 9
SPACE = {
    "x": hpo.Continuous(0, 1, prior=0.2),
    "y": hpo.Continuous(0, 1, prior=0.8, confidence="low"),
    "k": hpo.Categorical(["a", "b", "c"], prior="b"),
    "z": hpo.Integer(1, 9),
}
OPPOSITE = {
    "x": hpo.Continuous(0, 1, prior=0.8),
    "y": hpo.Continuous(0, 1, prior=0.2),
    "k": hpo.Categorical(["a", "b", "c"], prior=[0.5, 0.0, 0.5]),
    "z": hpo.Integer(1, 9),
}
STRATEGIES = {
    "random": hpo.Random,
    "bayesian": hpo.Bayesian,
    "bayesian, stop": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs"),
    "bayesian, pause": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs", pause=True),
    "hyperband": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs"),
    "hyperband, random": lambda: hpo.Hyperband(max_resource=EPOCHS, search="random"),
}


def loss(params, epoch):
    """Best at what is believed."""
    return (params["x"] - 0.25) ** 2 + (params["y"] - 0.7) ** 2 + 0.3 * (params["k"] != "b") + 1 / epoch


def search(space, strategy, trials=24, seed=0, **arguments):
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, max_trials=trials, seed=seed, **arguments)
    for trial in tuner:
        for epoch in range(1 + trial.start_epoch, EPOCHS + 1):
            if trial.report(epoch, {"loss": loss(trial.params, epoch)}):
                break
    return tuner


def plain(space):
    return {name: parameter.without_belief() for name, parameter in space.items()}


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_first_configuration_is_the_mode_and_is_judged_as_any_other(name):
    tuner = search(SPACE, STRATEGIES[name]())
    assert tuner.trials[0].params == {"x": 0.2, "y": 0.8, "k": "b", "z": 5}
    again = search(SPACE, STRATEGIES[name]())
    assert [trial.params for trial in tuner.trials] == [trial.params for trial in again.trials]


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_mode_comes_after_the_users_own_configurations(name):
    own = {"x": 0.5, "y": 0.5, "k": "a", "z": 1}
    tuner = search(SPACE, STRATEGIES[name](), trials=3, points_to_evaluate=[own])
    assert [trial.params for trial in tuner.trials[:2]] == [own, Space(SPACE).mode]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_right_belief_finds_more_in_the_first_trials(name):
    def best(space, seed):
        tuner = search(space, STRATEGIES[name](), trials=6, seed=seed)
        return min(loss(trial.params, EPOCHS) for trial in tuner.trials)

    assert np.mean([best(SPACE, seed) for seed in range(3)]) < np.mean([best(plain(SPACE), s) for s in range(3)])


def history_of(space, seed=0):
    tuner = search(space, hpo.Random(), trials=16, seed=seed)
    return tuner._loop.session.refresh()


def test_a_right_belief_is_trusted_and_the_opposite_is_dropped():
    for seed in range(3):
        right, wrong = history_of(SPACE, seed), history_of(OPPOSITE, seed)
        assert trust_in_belief(right, None) > 0.3
        assert believed_space(right, None) is right.space
        assert trust_in_belief(wrong, None) == 0
        assert believed_space(wrong, None) == Space(plain(OPPOSITE))


def test_few_results_do_not_judge_a_belief():
    tuner = search(OPPOSITE, hpo.Random(), trials=MIN_JUDGES - 1)
    history = tuner._loop.session.refresh()
    assert trust_in_belief(history, None) is None
    assert believed_space(history, None) is history.space


def test_the_surrogate_is_trusted_from_the_belief_on_where_it_agrees():
    from hpo_plugins.modeling.model import fit_model

    assert fit_model(history_of(SPACE), None).has_prior_mean
    assert not fit_model(history_of(OPPOSITE), None).has_prior_mean
    assert not fit_model(history_of(plain(SPACE)), None).has_prior_mean


def test_random_without_priors_draws_as_without_beliefs():
    tuner = search(SPACE, hpo.Random(use_priors=False), trials=5)
    expected = [draw(Space(plain(SPACE)), 0, number) for number in range(5)]
    assert [trial.params for trial in tuner.trials] == expected
    assert search(SPACE, hpo.Random(), trials=5).trials[1].params != expected[1]


def test_draws_with_beliefs_depend_on_no_result():
    one = search(SPACE, hpo.Random(), trials=12)
    other = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=hpo.Random(), max_trials=12, seed=0)
    for trial in other:
        trial.report(1, {"loss": -loss(trial.params, 1)})
    assert [trial.params for trial in one.trials] == [trial.params for trial in other.trials]


def test_beliefs_are_part_of_a_studys_definition(tmp_path):
    storage = str(tmp_path / "search.db")
    search(SPACE, hpo.Random(), trials=2, storage=storage)
    assert hpo.Tuner.load(storage).study.space == Space(SPACE)
    with pytest.raises(hpo.StudyMismatch, match="space"):
        search(OPPOSITE, hpo.Random(), trials=3, storage=storage)


def test_summary_says_what_is_believed_and_whether_results_agree():
    assert "x near 0.2 (medium confidence)" in search(SPACE, hpo.Random(), trials=4).summary()
    assert "too few results" in search(SPACE, hpo.Random(), trials=4).summary()
    assert "results agree with it (weight" in search(SPACE, hpo.Random(), trials=16).summary()
    assert "so it is dropped" in search(OPPOSITE, hpo.Random(), trials=16).summary()
    assert "'a' (50%) or 'b' (0%) or 'c' (50%)" in search(OPPOSITE, hpo.Random(), trials=4).summary()
    assert "Belief" not in search(plain(SPACE), hpo.Random(), trials=16).summary()


def test_a_conditional_parameter_is_believed_in_while_it_is_active():
    space = {
        "optimizer": hpo.Categorical(["sgd", "adam"], prior="adam"),
        "momentum": hpo.Continuous(0, 1, prior=0.9, when={"optimizer": "sgd"}),
    }
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=hpo.Bayesian(), max_trials=16, seed=0)
    for trial in tuner:
        trial.report(1, {"loss": trial.params.get("momentum", 0.5)})
    assert tuner.trials[0].params == {"optimizer": "adam"}
    assert {trial.params["optimizer"] for trial in tuner.trials} == {"sgd", "adam"}


def test_a_study_whose_trials_all_fail_or_are_equal_goes_on():
    for value in (float("nan"), 1.0):
        tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=hpo.Hyperband(max_resource=2), max_trials=20, seed=0)
        for trial in tuner:
            trial.report(1, {"loss": value})
        assert len(tuner.trials) == 20


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0, 2.0], [0.5, -1.0, 0.5, 7.0, -1.0, 0.5]])
def test_ranks_are_scipys(values):
    np.testing.assert_array_equal(average_ranks(np.array(values)), rankdata(values))
