"""The search and random draws take turns by the new bests that they bring."""

import pytest

import hpo_plugins as hpo
from hpo_plugins.modeling.turns import drawn_configuration, draws_before

LAST = 20
SINCE = 4


def turns_of(n_trials, loss_of, epochs_of=lambda is_draw: 2):
    """Run a study whose losses and epochs depend on whose turn a trial is; return the turns, True for draws."""
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), seed=0, progress=False)
    turns = []
    for number in range(n_trials):
        turns.append(draws_before(tuner.history, LAST, SINCE) is not None)
        trial = tuner.ask()
        for epoch in range(1, epochs_of(turns[-1]) + 1):
            trial.report(epoch, {"loss": loss_of(number, turns[-1])})
        trial.end()
    return turns


def share_of_draws(turns):
    return sum(turns) / len(turns)


def test_turns_are_even_while_neither_brings_a_new_best():
    assert share_of_draws(turns_of(80, lambda number, is_draw: 0.0)) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("draws_win", [True, False])
def test_who_brings_new_bests_has_most_turns(draws_win):
    turns = turns_of(80, lambda number, is_draw: -float(number) if is_draw is draws_win else 0.0)
    late = share_of_draws(turns[40:])
    assert late > 0.85 if draws_win else late < 0.15


def test_whose_trials_cost_more_epochs_has_fewer_turns():
    turns = turns_of(80, lambda number, is_draw: -float(number), lambda is_draw: 2 if is_draw else LAST)
    assert share_of_draws(turns[40:]) > 0.75


def test_draws_continue_the_sequence_of_the_initial_design():
    space = {"x": hpo.Continuous(0, 1)}
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=hpo.Random(), seed=0, progress=False)
    plain = hpo.Tuner(space, hpo.Minimize("loss"), strategy=hpo.Random(), seed=0, progress=False)
    sequence, drawn = [plain.ask().params for _ in range(40)], []
    for number in range(60):
        params = drawn_configuration(tuner.history, 0, LAST, SINCE) if number >= SINCE else None
        tuner.enqueue(params or {"x": number / 100 + 0.001})
        drawn += [] if params is None else [params]
        trial = tuner.ask()
        trial.report(1, {"loss": 0.0})
        trial.end()
    assert drawn == sequence[SINCE : SINCE + len(drawn)]


def test_trials_before_the_first_turn_do_not_count():
    bests_before = turns_of(60, lambda number, is_draw: -float(number) if number < SINCE else 0.0)
    none = turns_of(60, lambda number, is_draw: -9.0)
    assert bests_before == none


def test_turns_follow_from_the_history_alone():
    def loss(number, is_draw):
        return -float(number) if number % 3 else 0.0

    assert turns_of(40, loss) == turns_of(40, loss)
