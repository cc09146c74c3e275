"""A trial that several calls of ``fit`` train: the answers to callbacks in each phase."""

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
    phase = trial.plugin.begin_phase(initial, **begin)
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
        phase = trial.plugin.begin_phase(continues=number > 0)
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


def train_phases(tuner, calls, *, ends_early=()):
    """Train every trial in the phases that ``calls`` gives the epochs of; return the epochs by trial and phase.

    Args:
        calls: Epochs of each phase.
        ends_early: Phases that the framework itself ends, after how many of their epochs, by their number.
    """
    trained = {}
    for trial in tuner:
        for number, epochs in enumerate(calls):
            phase = trial.plugin.begin_phase(continues=number > 0)
            own = phase.trained
            last = dict(ends_early).get(number, epochs)
            while not phase.is_over and own < last:
                own += 1
                trained.setdefault(trial.number, []).append((number, own))
                if trial.report(phase.begin + own, {"loss": trial["x"] + 1 / (phase.begin + own)}):
                    break
            if trial.save_is_due:
                trial.save(lambda path: path.write_text("state"))
            if not phase.is_over:
                trial.plugin.end_phase(is_complete=own >= last)
    return trained


@pytest.mark.parametrize("calls", [(4, 5), (2, 7), (3, 6), (1, 1, 1, 6), (8, 1)])
def test_paused_trial_trains_the_rest_of_its_phase_before_the_next(storage, calls):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    trained = train_phases(tuner, calls)
    whole = [(number, own) for number, epochs in enumerate(calls) for own in range(1, epochs + 1)]
    for epochs in trained.values():
        assert epochs == whole[: len(epochs)]
    assert [trained[t.number] for t in tuner.trials if t.state is hpo.TrialState.COMPLETED] != []
    for record in tuner.trials:
        assert record.epochs == len(trained[record.number])
        assert record.state is not hpo.TrialState.COMPLETED or trained[record.number] == whole


def test_phase_that_ends_early_at_its_pause_is_over_when_the_trial_resumes(storage):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    trained = train_phases(tuner, (5, 6), ends_early={0: 3})  # 3 is a rung
    whole = [(0, 1), (0, 2), (0, 3)] + [(1, own) for own in range(1, 7)]
    for record in tuner.trials:
        assert trained[record.number] == whole[: record.epochs]


def test_training_that_ends_at_its_pause_is_completed(storage):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    trained = train_phases(tuner, (3,))
    ended = [record for record in tuner.trials if record.epochs == 3]
    assert ended
    assert {record.state for record in ended} == {hpo.TrialState.COMPLETED}
    assert all(trained[record.number] == [(0, 1), (0, 2), (0, 3)] for record in ended)


def test_phase_that_a_script_leaves_out_when_told_to_stop_is_trained_later(storage):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    trained = {}
    for trial in tuner:
        epochs = trained.setdefault(trial.number, [])
        for number, n in enumerate((3, 6)):
            if trial.should_stop:
                break
            phase = trial.plugin.begin_phase(continues=number > 0)
            for own in range(phase.trained + 1, n + 1) if not phase.is_over else ():
                epochs.append((number, own))
                if trial.report(phase.begin + own, {"loss": trial["x"] + 1 / (phase.begin + own)}):
                    break
            trial.plugin.end_phase(is_complete=len([e for e in epochs if e[0] == number]) == n)
    whole = [(0, own) for own in (1, 2, 3)] + [(1, own) for own in range(1, 7)]
    assert any(record.state is hpo.TrialState.COMPLETED for record in tuner.trials)
    for record in tuner.trials:
        assert trained[record.number] == whole[: record.epochs]
        assert record.state is not hpo.TrialState.COMPLETED or record.epochs == 9


def test_killed_in_the_second_phase_before_its_first_save_resumes_in_the_first(tmp_path):
    trained = []
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    trial = first.ask()
    fit(trial, 4, trained, kill_after=3)
    phase = trial.plugin.begin_phase  # the script goes on: epoch 4 and the second phase are not saved
    trained.append(4)
    trial.report(4, {"loss": 1.0})
    assert not phase(continues=True).is_over
    trial.report(5, {"loss": 1.0})
    expire_lease(first, 0)
    again = []
    for trial in new_tuner(tmp_path / "a.db", max_trials=1):
        assert script(trial, [(4,), (3,)], again)
    assert again == [4, 5, 6, 7]


@pytest.mark.parametrize(("epochs", "is_warned"), [([100, 200], True), ([1, 2, 9, 12], False)])
def test_first_report_beyond_max_resource_says_what_is_counted(caplog, epochs, is_warned):
    for trial in new_tuner(strategy=hpo.Hyperband(max_resource=9), max_trials=3):
        for epoch in epochs:
            trial.report(epoch, {"loss": 1.0})
    text = "The first report of trial 0 is of epoch 100, and max_resource=9"
    assert caplog.text.count(text) == is_warned == caplog.text.count("max_resource counts what the training reports")
