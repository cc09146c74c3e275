"""A trial that is trained by several calls of ``fit``: what callbacks are told of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import expire_lease

import hpo_plugins as hpo
from hpo_plugins.coordination.phases import Phases


def new_tuner(storage=None, **arguments):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, storage=storage, **arguments)


def fit(trial, epochs, trained, *, initial=0, kill_after=None, **begin):
    """Train as a callback does: ``epochs`` is the total of this call, ``initial`` its first."""
    phase = trial.begin_phase(initial, **begin)
    if phase.is_over:
        return True
    for own in range(initial + phase.trained, epochs):
        epoch = phase.begin + own - initial + 1
        trained.append(epoch)
        stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
        if trial.save_is_due or kill_after is not None:
            trial.save(lambda path: path.write_text("state"))
        if epoch == kill_after:
            return False
        if stop:
            break
    return True


def script(trial, calls, trained, kill_after=None):
    """A script of several calls; return whether it came to its end."""
    return all(
        fit(trial, *call, trained, kill_after=kill_after, continues=number > 0) for number, call in enumerate(calls)
    )


def test_epochs_count_on_over_phases(storage):
    tuner = new_tuner(storage, max_trials=1)
    trained = []
    for trial in tuner:
        fit(trial, 3, trained)
        fit(trial, 2, trained, continues=True)  # counts from 0 again
        fit(trial, 9, trained, initial=7, continues=True)  # counts as Keras's tutorials do
    assert trained == [1, 2, 3, 4, 5, 6, 7]
    assert list(tuner.trials[0].curve) == trained


def test_first_phase_counts_from_what_the_model_was_trained_before(storage):
    tuner = new_tuner(storage, max_trials=1)
    trained = []
    for trial in tuner:
        fit(trial, 12, trained, initial=10)
    assert trained == [11, 12]


@pytest.mark.parametrize("pause", [False, True])
def test_trial_that_is_to_stop_trains_nothing_in_a_later_phase(storage, pause):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=pause), max_trials=9)
    trained = {}
    for trial in tuner:
        epochs = trained.setdefault(trial.number, [])
        fit(trial, 2, epochs)
        fit(trial, 9, epochs, continues=True)
        assert trial.should_stop or epochs[-1] == 9
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in trained.values())  # none twice, none left out
    assert max(len(epochs) for epochs in trained.values()) == 9
    assert min(len(epochs) for epochs in trained.values()) < 3


@pytest.mark.parametrize("kill_after", [1, 2, 3, 4, 5, 6, 7])
def test_killed_trial_continues_in_its_phase(tmp_path, kill_after):
    calls = [(3,), (1,), (3,)]
    trained = []
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    script(first.ask(), calls, trained, kill_after)
    expire_lease(first, 0)
    second = new_tuner(tmp_path / "a.db", max_trials=1)
    for trial in second:
        assert trial.start_epoch == kill_after
        assert script(trial, calls, trained)
    assert trained == [1, 2, 3, 4, 5, 6, 7]
    assert second.trials[0].state is hpo.TrialState.COMPLETED


def test_checkpoint_is_offered_in_its_phase_only(tmp_path):
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    script(first.ask(), [(2,), (2,)], [], kill_after=3)
    expire_lease(first, 0)
    trial = new_tuner(tmp_path / "a.db", max_trials=1).ask()
    offered = []
    for number in range(3):
        offered.append(trial.resume_from is not None)
        phase = trial.begin_phase(continues=number > 0)
        offered.append((phase.begin, phase.start, phase.is_over, phase.restores))
        if number == 1:
            trial.report(4, {"loss": 0.1})
    assert offered == [False, (0, 3, True, False), True, (2, 3, False, True), False, (4, 4, False, False)]


def test_another_model_is_an_error_that_says_which_of_two_is_wanted(storage):
    tuner = new_tuner(storage, max_trials=1)
    for trial in tuner:
        fit(trial, 2, [])
        for _ in range(2):  # scikit-learn catches the errors of a fold
            with pytest.raises(hpo.InvalidReport, match=r"trial.folds\(n\).*second phase"):
                fit(trial, 2, [])
    assert tuner.trials[0].state is hpo.TrialState.FAILED


def test_copy_of_a_model_is_declared(storage):
    tuner = new_tuner(storage, max_trials=1)
    trained = []
    for trial in tuner:
        fit(trial, 2, trained)
        trial.next_phase()
        fit(trial, 2, trained)
    assert trained == [1, 2, 3, 4]
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


def test_script_that_makes_fewer_calls_when_it_resumes_fails_with_a_sentence(tmp_path):
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    script(first.ask(), [(2,), (2,)], [], kill_after=3)
    expire_lease(first, 0)
    second = new_tuner(tmp_path / "a.db", max_trials=1)
    for trial in second:
        script(trial, [(2,)], [])
    assert second.trials[0].state is hpo.TrialState.FAILED
    assert "interrupted in phase 1 at epoch 3, but the script has begun only 1 phases" in second.trials[0].error


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.lists(st.integers(1, 12), max_size=4))
def test_any_interruptions_leave_every_epoch_trained_once(lengths, kills):
    """Attempts that are killed after some epochs, each saved, in scripts of any phases."""
    saved, earlier, trained = 0, (), []
    for kill in [*kills, 99]:
        budget = kill
        phases = Phases(saved, earlier)
        epoch = saved
        for number, length in enumerate(lengths):
            phase = phases.begin(epoch, must_stop=False)
            earlier = phases.known
            if phase.is_over:
                continue
            assert phase.begin == sum(lengths[:number])
            for own in range(phase.trained, length):
                if not budget:
                    break
                budget -= 1
                epoch = saved = phase.begin + own + 1
                trained.append(epoch)
            if not budget:
                break
    assert trained == list(range(1, sum(lengths) + 1))
