"""A trial that is trained in folds: its value, its judgement, and how it continues."""

import pickle
import statistics

import pytest
from support import expire_lease, history_of

import hpo_plugins as hpo

EASY, HARD = 0.0, 10.0


def new_tuner(storage=None, **arguments):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, storage=storage, **arguments)


def train_fold(fold, losses, trained=None):
    """Report losses by epoch; return whether the fold must stop."""
    for epoch in range(fold.start_epoch + 1, len(losses) + 1):
        if trained is not None:
            trained.append((fold.number, epoch))
        if fold.report(epoch, {"loss": losses[epoch - 1], "acc": fold.number}):
            return True
    return False


def test_value_is_the_mean_over_folds_with_its_deviation(storage):
    tuner = new_tuner(storage, max_trials=1)
    losses = [[5.0, 3.0, 4.0], [7.0, 5.0], [9.0, 1.0, 2.0]]
    for trial in tuner:
        for fold in trial.folds(3):
            train_fold(fold, losses[fold.number])
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.COMPLETED
    assert record.folds == ({1: 5.0, 2: 3.0, 3: 4.0}, {1: 7.0, 2: 5.0}, {1: 9.0, 2: 1.0, 3: 2.0})
    # Fold 1 ended early, and counts with its last value.
    assert record.curve == pytest.approx({1: 7.0, 2: 3.0, 3: 11 / 3})
    assert record.value == pytest.approx(3.0)
    assert record.std == pytest.approx(statistics.pstdev([3.0, 5.0, 1.0]))
    assert record.metrics[2] == pytest.approx(
        {"loss": 3.0, "loss-std": record.std, "acc": 1.0, "acc-std": (2 / 3) ** 0.5}
    )
    assert "+- 1.6 over 3 folds at epoch 2" in tuner.summary()
    assert "8 were trained; 1 full training run of 3 in 3 folds each would have been 9" in tuner.summary()
    if storage is not None:
        assert hpo.Tuner.load(storage).trials == tuner.trials


def test_trial_with_fewer_folds_is_never_the_best(storage):
    tuner = new_tuner(storage, max_trials=2)
    for trial in tuner:
        for fold in trial.folds(2):
            train_fold(fold, [EASY + 0.1 if fold.number == 0 else HARD])
            if trial.number == 1:
                break
    assert [t.value for t in tuner.trials] == [pytest.approx(5.05), pytest.approx(0.1)]
    assert tuner.best_trial.number == 0
    assert tuner.trials[1].state is hpo.TrialState.STOPPED
    assert tuner.trials[1].stop_reason == "only 1 of its 2 folds were trained"


def test_folds_are_compared_with_the_same_folds(storage):
    """Fold 1 is harder for everybody: that stops nobody, but a fold 1 that is worse than the others' does."""
    tuner = new_tuner(storage, max_trials=4, early_stopping=hpo.MedianRule())
    trained = {}
    for trial in tuner:
        for fold in trial.folds(3):
            base = {0: EASY, 1: HARD, 2: HARD}[fold.number] - 0.1 * trial.number
            extra = 50.0 if (trial.number, fold.number) == (3, 1) else 0.0
            train_fold(
                fold, [base + 3 + extra, base + 2 + extra, base + 1 + extra], trained.setdefault(trial.number, [])
            )
    assert [t.state for t in tuner.trials] == [hpo.TrialState.COMPLETED] * 3 + [hpo.TrialState.STOPPED]
    assert trained[3] == [(0, 1), (0, 2), (0, 3), (1, 1)]
    assert tuner.trials[3].stop_reason.startswith("median rule")


def test_hyperband_judges_the_first_fold_by_rungs_and_the_trial_after_it(storage):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9), max_trials=60)
    trained = {}
    for trial in tuner:
        for fold in trial.folds(5):
            loss = trial["x"] + (HARD if fold.number else EASY)
            train_fold(fold, [loss + 1 / epoch for epoch in range(1, 20)], trained.setdefault(trial.number, []))
    by_folds = {number: {fold for fold, _ in epochs} for number, epochs in trained.items()}
    assert all(folds in ({0}, {0, 1, 2}, {0, 1, 2, 3, 4}) for folds in by_folds.values())  # judged after 1 and 3
    completed = [t for t in tuner.trials if t.state is hpo.TrialState.COMPLETED]
    assert completed
    assert all(max(curve) == 9 for t in completed for curve in t.folds)  # each fold ends at max_resource
    assert len([t for t in tuner.trials if (t.stop_reason or "").startswith("not among the best after fold 0")]) > 1
    assert tuner.best_trial.params["x"] == min(t.params["x"] for t in completed)


@pytest.mark.parametrize("strategy", [hpo.Bayesian(), hpo.Bayesian(max_resource=9), hpo.Bayesian(9, pause=True)])
def test_surrogate_compares_first_folds(strategy):
    tuner = new_tuner(strategy=strategy, max_trials=12)
    for trial in tuner:
        for fold in trial.folds(3):
            loss = (trial["x"] - 0.7) ** 2 + (HARD if fold.number else EASY)
            train_fold(fold, [loss + 1 / epoch for epoch in range(1, 10)])
    assert abs(tuner.best_trial.params["x"] - 0.7) < 0.15
    assert len(tuner.best_trial.folds) == 3


def test_killed_trial_continues_at_its_fold(tmp_path):
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    trial = first.ask()
    handles = trial.folds(3)
    train_fold(next(handles), [2.0, 1.0])
    fold = next(handles)
    fold.report(1, {"loss": 5.0})
    fold.save(lambda path: path.write_text("state"))
    fold.report(2, {"loss": 4.0})
    expire_lease(first, 0)  # killed

    second = new_tuner(tmp_path / "a.db", max_trials=1)
    trained, starts = [], []
    for trial in second:
        for number, fold in enumerate(trial.folds(3)):  # aligned with the data's folds
            assert number == fold.number
            starts.append((fold.is_done, fold.start_epoch, fold.resume_from is not None))
            train_fold(fold, [3.0, 2.0], trained)
    assert starts == [(True, 2, False), (False, 1, True), (False, 0, False)]
    assert trained == [(1, 2), (2, 1), (2, 2)]
    (record,) = second.trials
    assert record.state is hpo.TrialState.COMPLETED
    assert record.folds == ({1: 2.0, 2: 1.0}, {1: 5.0, 2: 2.0}, {1: 3.0, 2: 2.0})
    assert record.checkpoint is None


def test_fold_that_was_over_trains_nothing_even_without_start_epoch(tmp_path):
    first = new_tuner(tmp_path / "a.db", max_trials=1)
    handles = first.ask().folds(2)
    next(handles).report(1, {"loss": 1.0})
    next(handles)
    expire_lease(first, 0)
    second = new_tuner(tmp_path / "a.db", max_trials=1)
    for trial in second:
        answers = [fold.report(1, {"loss": 9.0}) for fold in trial.folds(2)]
    assert answers == [True, False]
    assert second.trials[0].folds == ({1: 1.0}, {1: 9.0})


def test_stopped_trial_yields_no_further_fold(storage):
    tuner = new_tuner(storage, max_trials=1)
    for trial in tuner:
        seen = [fold.number for fold in trial.folds(5) if fold.report(1, {"loss": float("nan")}) or True]
    assert seen == [0]
    assert tuner.trials[0].state is hpo.TrialState.FAILED


def test_paused_in_the_first_fold_then_resumed_there(storage):
    tuner = new_tuner(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    trained = {}
    for trial in tuner:
        for fold in trial.folds(2):
            for epoch in range(fold.start_epoch + 1, 10):
                trained.setdefault((trial.number, fold.number), []).append(epoch)
                stop = fold.report(epoch, {"loss": trial["x"] + 1 / epoch})
                if fold.save_is_due:
                    fold.save(lambda path: path.write_text("state"))
                if stop:
                    break
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in trained.values())  # none twice, none left out
    assert any(t.attempts > 1 for t in tuner.trials)
    assert any(len(t.folds) == 2 for t in tuner.trials)


def test_folds_can_be_trained_at_once_by_visitors(storage):
    """As joblib does: the handles cross to other processes, all before the first one trains."""
    tuner = new_tuner(storage, max_trials=1)
    for trial in tuner:
        handles = [pickle.loads(pickle.dumps(fold)) for fold in trial.folds(3)]
        for epoch in (1, 2):
            for fold in handles:
                assert not fold.report(epoch, {"loss": fold.number + 1 / epoch})
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.COMPLETED
    assert record.value == pytest.approx(1.5)


def test_two_trainings_of_one_trial_in_two_processes_fail_it(storage):
    """As scikit-learn's cross_val_score does with n_jobs: copies of one callback report at the same time."""
    tuner = new_tuner(storage, max_trials=1)
    refusals = []
    for trial in tuner:
        copies = [pickle.loads(pickle.dumps(trial)) for _ in range(3)]
        for epoch in (1, 2):
            for copy in copies:
                try:
                    copy.report(epoch, {"loss": 1.0})
                except hpo.InvalidReport as error:  # scikit-learn turns it into NaN
                    refusals.append(str(error))
    assert refusals
    assert all("trial.folds(n)" in refusal for refusal in refusals)
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.FAILED
    assert record.value is None


def test_bad_uses_of_folds_say_what_to_do(storage):
    tuner = new_tuner(storage, max_trials=3)
    trial = tuner.ask()
    with pytest.raises(hpo.InvalidArgument, match="n must be a whole number of at least 2, but got n=1"):
        trial.folds(1)
    for fold in trial.folds(2):
        fold.report(1, {"loss": 1.0})
    with pytest.raises(hpo.InvalidReport, match=r"has the trial instead of a fold. Write TrialCallback\(fold\)"):
        trial.report(1, {"loss": 1.0})
    trial.end()
    other = tuner.ask()
    with pytest.raises(hpo.InvalidArgument, match=r"got folds\(5\) after 2"):
        other.folds(5)
    with pytest.raises(hpo.InvalidReport, match=r"trained in 2 folds, but trial 1 is trained without"):
        other.report(1, {"loss": 1.0})


def test_history_view_of_a_fold_has_only_trials_that_reached_it():
    tuner = new_tuner(max_trials=2)
    for trial in tuner:
        for fold in trial.folds(2):
            train_fold(fold, [2.0 + fold.number, 1.0 + fold.number])
            if trial.number:
                break
    history = history_of(tuner)
    assert [len(trial.curve) for trial in history.up_to_fold(0)] == [2, 2]
    assert [len(trial.curve) for trial in history.up_to_fold(1)] == [2, 0]
    assert history.up_to_fold(1).incumbent() == 0


def test_error_in_a_fold_does_not_end_it(tmp_path):
    tuner = new_tuner(tmp_path / "a.db", max_trials=1, retry_on=(RuntimeError,))
    trained = []

    def train(trial):
        for fold in trial.folds(2):
            for epoch in range(fold.start_epoch + 1, 4):
                trained.append((fold.number, epoch))
                fold.report(epoch, {"loss": 1.0})
                fold.save(lambda path: path.write_text("state"))
                if trained[-1] == (1, 2) and trial.attempt == 1:
                    raise RuntimeError

    tuner.run(train)
    assert trained == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
