import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import hpo_plugins as hpo

SPACE = {"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["a", "b"]), "y": hpo.Continuous(0, 1, when={"k": "b"})}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "tuning.db"


def train(trial, noise=0.05, epochs=6):
    draw = np.random.default_rng(trial.seed)
    for epoch in range(1, epochs + 1):
        loss = (trial["x"] - 0.3) ** 2 + trial.params.get("y", 0) / 10 + 1 / epoch + draw.normal(0, noise)
        if trial.report(epoch, {"loss": loss}):
            break


def searched(storage=None, objective=None, **arguments):
    given = {"strategy": hpo.Random(), "max_trials": 8, "seed": 0, "storage": storage, "progress": "off"}
    tuner = hpo.Tuner(SPACE, objective or hpo.Minimize("loss", at="last"), **given | arguments)
    for trial in tuner:
        train(trial)
    return tuner


def test_finalists_are_trained_again_with_other_seeds(storage):
    tuner = searched(storage)
    by_value = sorted(tuner.trials, key=lambda trial: trial.value)[:3]
    seeds, trained = set(), []
    for trial in tuner.confirm(top=3, repeats=4, confidence=0.999):
        seeds.add(trial.seed)
        trained.append(trial.params)
        train(trial)
    assert len(seeds) == len(trained)
    assert {str(params) for params in trained} == {str(record.params) for record in by_value}
    assert len(trained) <= 12
    assert {entry.number for entry in tuner.confirmation} == {record.number for record in by_value}
    assert sum(entry.repeats for entry in tuner.confirmation) == len(trained)
    assert sum(entry.probability for entry in tuner.confirmation) == pytest.approx(1)
    assert tuner.best_trial.number == tuner.confirmation[0].number
    assert tuner.best_trial.params == tuner.trials[tuner.confirmation[0].number].params


def test_means_are_those_of_the_repeats_and_not_of_the_search(storage):
    tuner = searched(storage, hpo.Maximize("loss"))
    values = {}
    confirming = tuner.confirm(repeats=3, confidence=0.99)
    for trial in confirming:
        train(trial)
    for record in confirming.trials:
        values.setdefault(str(record.params), []).append(record.value)
    for entry in tuner.confirmation:
        own = values[str(tuner.trials[entry.number].params)]
        assert entry.mean == pytest.approx(np.mean(own))
        assert entry.std == pytest.approx(np.std(own, ddof=1))
        assert entry.repeats == len(own)
    assert tuner.confirmation[0].mean == max(entry.mean for entry in tuner.confirmation)


def test_clear_winner_needs_two_repeats_each():
    tuner = searched()
    for trial in tuner.confirm(top=3, repeats=9):
        train(trial, noise=1e-9)
    assert [entry.repeats for entry in tuner.confirmation] == [2, 2, 2]
    assert tuner.confirmation[0].probability > 0.95


def test_equal_finalists_are_trained_as_often_as_allowed():
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=3, seed=0, progress="off")
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    draws = np.random.default_rng(1)
    for trial in tuner.confirm(top=3, repeats=4, confidence=0.9999):
        trial.report(1, {"loss": draws.normal()})
    assert sorted(entry.repeats for entry in tuner.confirmation)[0] >= 2
    assert max(entry.repeats for entry in tuner.confirmation) == 4


def test_no_training_is_stopped_early_and_each_ends_with_max_resource(storage):
    tuner = searched(storage, strategy=hpo.Hyperband(max_resource=4, search="random"))
    confirming = tuner.confirm(top=2, repeats=2)
    for trial in confirming:
        train(trial, epochs=9)
    assert {record.epochs for record in confirming.trials} == {4}
    assert {record.state for record in confirming.trials} == {hpo.TrialState.COMPLETED}
    assert all(tuner.trials[entry.number].state is hpo.TrialState.COMPLETED for entry in tuner.confirmation)


def test_folds_are_confirmed_by_their_means():
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=4, seed=0, progress="off")

    def body(trial):
        for fold in trial.folds(2):
            assert fold.seed == trial.seed
            fold.report(1, {"loss": trial["x"] + np.random.default_rng(fold.seed + fold.number).random() / 10})

    for trial in tuner:
        body(trial)
    confirming = tuner.confirm(top=2, repeats=2)
    for trial in confirming:
        body(trial)
    assert all(len(record.folds) == 2 for record in confirming.trials)
    assert tuner.confirmation[0].repeats == 2


def test_failed_repeats_do_not_count():
    tuner = searched()
    for trial in tuner.confirm(top=2, repeats=3):
        if trial.number < 2:
            trial.fail("on purpose")
        else:
            train(trial)
    assert all(entry.repeats <= 2 for entry in tuner.confirmation)
    assert tuner.best_trial.number == tuner.confirmation[0].number


def test_winner_is_stored_and_shown(tmp_path):
    tuner = searched(tmp_path / "tuning.db", name="churn")
    for trial in tuner.confirm():
        train(trial)
    loaded = hpo.Tuner.load(tmp_path / "tuning.db")  # the only study, apart from what confirms it
    assert loaded.name == "churn"
    assert loaded.confirmation == tuner.confirmation
    assert loaded.best_trial == tuner.best_trial
    first = tuner.confirmation[0]
    text = f"Trial {first.number} is the best of 3 finalists with probability {first.probability:.3f}"
    assert text in loaded.summary()
    assert f"Best: trial {first.number}," in loaded.summary()
    pytest.importorskip("plotly")
    tuner.to_html(tmp_path / "report.html")
    assert text in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_repeats_say_what_to_expect_of_the_winner(tmp_path):
    tuner = searched(tmp_path / "tuning.db")
    for trial in tuner.confirm(top=2, repeats=3, confidence=0.9999):
        train(trial)
    (entry,) = [each for each in tuner.confirmation if each.number == tuner.best_trial.number]
    assert tuner.best_trial.expected == entry.mean
    assert tuner.best_trial.expected_std == pytest.approx(entry.std * (1 + 1 / entry.repeats) ** 0.5)
    assert f"{entry.mean:.3g}"[:4] in tuner.summary()


def test_views_of_the_confirmation_itself_work(tmp_path):
    pytest.importorskip("pandas"), pytest.importorskip("plotly")
    tuner = searched(tmp_path / "tuning.db")
    confirming = tuner.confirm(top=4, repeats=6, confidence=0.99999)
    for trial in confirming:
        train(trial, noise=1.0)
    pytest.importorskip("optuna")
    from hpo_plugins.exchange import export_optuna

    with pytest.raises(hpo.InvalidArgument, match="that confirms another cannot be exported"):
        export_optuna(confirming, tmp_path / "optuna.db")
    assert "finalist" not in confirming.trials[0].params
    assert len(confirming.to_dataframe()) == len(confirming.trials) > 10
    assert confirming.summary()
    confirming.to_html(tmp_path / "report.html")


def test_confirmation_is_unchanged_until_it_is_over(storage):
    tuner = searched(storage)
    best = tuner.best_trial
    assert tuner.confirmation == ()
    confirming = tuner.confirm(top=3, repeats=2)
    trial = confirming.ask()
    train(trial)
    trial.end()
    assert sum(entry.repeats for entry in tuner.confirmation) == 1
    assert tuner.best_trial == best
    for trial in tuner.confirm(top=3, repeats=2):  # continues
        train(trial)
    assert len(confirming.trials) == 6


def test_search_that_finds_something_better_is_not_overruled(tmp_path):
    tuner = searched(tmp_path / "tuning.db")
    for trial in tuner.confirm():
        train(trial)
    winner = tuner.best_trial.number
    again = hpo.Tuner(SPACE, hpo.Minimize("loss", at="last"), strategy=hpo.Random(), max_trials=9, seed=0,
                      storage=tmp_path / "tuning.db", progress="off")  # fmt: skip
    assert again.best_trial.number == winner
    for trial in again:
        trial.report(1, {"loss": -5.0})
    assert again.best_trial.number == 8
    for trial in again.confirm():
        train(trial)
    assert again.best_trial.number in [entry.number for entry in again.confirmation]
    assert 8 in [entry.number for entry in again.confirmation]


def test_trials_have_seeds_of_their_own(tmp_path):
    tuner = searched(tmp_path / "a.db", max_trials=1)
    seeds = [hpo.Tuner(SPACE, hpo.Minimize("loss"), seed=seed, progress="off").ask().seed for seed in range(50)]
    assert len(set(seeds)) == 50
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    trial = hpo.Tuner(SPACE, hpo.Minimize("loss"), seed=7, progress="off").ask()
    assert trial.seed == hpo.Tuner(SPACE, hpo.Minimize("loss"), seed=7, progress="off").ask().seed
    assert tuner.trials[0].number == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top": 0}, "top must be"),
        ({"top": 1.5}, "top must be"),
        ({"top": 100}, "top must be"),
        ({"repeats": 0}, "repeats must be"),
        ({"confidence": 1}, "confidence must be"),
        ({"confidence": 0.4}, "confidence must be"),
        ({"confidence": "high"}, "confidence must be"),
    ],
)
def test_bad_arguments_are_named_when_it_is_called(arguments, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        searched().confirm(**arguments)


def test_search_without_a_value_and_a_confirmation_cannot_be_confirmed():
    with pytest.raises(hpo.NothingReported, match="nothing to confirm"):
        hpo.Tuner(SPACE, hpo.Minimize("loss"), progress="off").confirm()
    with pytest.raises(hpo.InvalidArgument, match="must be called on the search"):
        confirming = searched().confirm()
        for trial in confirming:
            train(trial)
        confirming.confirm()


def test_copies_renames_and_deletions_take_the_confirmation_along(tmp_path):
    tuner = searched(tmp_path / "tuning.db", name="a")
    for trial in tuner.confirm():
        train(trial)
    confirmation, winner = tuner.confirmation, tuner.best_trial.number
    study = hpo.studies(tmp_path / "tuning.db")["a"]
    copied = study.copy(tmp_path / "other.db").load()
    assert copied.confirmation == confirmation
    renamed = study.rename("b").load()
    assert renamed.confirmation == confirmation
    assert renamed.best_trial.number == winner
    hpo.studies(tmp_path / "tuning.db")["b"].delete()
    assert list(hpo.studies(tmp_path / "tuning.db")) == []


def body(trial):
    train(trial)


@pytest.mark.process
def test_workers_confirm_together(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # where workers import this file's function from
    tuner = searched(tmp_path / "tuning.db")
    confirming = tuner.confirm(top=3, repeats=3, confidence=0.9999)
    confirming.run(body, workers=2)
    assert [record.number for record in confirming.trials] == list(range(len(confirming.trials)))
    assert tuner.best_trial.number == tuner.confirmation[0].number
    assert max(entry.repeats for entry in tuner.confirmation) <= 3


SCRIPT = """
    import os, random, signal, sys
    import hpo_plugins as hpo

    def train(trial, dies=False):
        draw = random.Random(trial.seed)
        for epoch in range(1, 4):
            if dies and epoch == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if trial.report(epoch, {"loss": trial["x"] + draw.gauss(0, 0.3)}):
                break

    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=5, seed=0, storage="tuning.db",
                      progress="off")
    for trial in tuner:
        train(trial)
    for n, trial in enumerate(tuner.confirm(top=2, repeats=3, confidence=0.9999)):
        train(trial, dies=len(sys.argv) > 1 and n == 2)
    print([(entry.number, entry.mean, entry.repeats) for entry in tuner.confirmation])
"""


@pytest.mark.process
def test_killed_confirmation_continues_with_the_same_seeds(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    outputs = []
    for folder, runs in (("killed", [["die"], []]), ("whole", [[]])):
        (tmp_path / folder).mkdir()
        for arguments in runs:
            ended = subprocess.run([sys.executable, str(script), *arguments], cwd=tmp_path / folder,
                                   capture_output=True, text=True, check=False)  # fmt: skip
            assert ended.returncode == (-signal.SIGKILL if arguments else 0), ended.stderr
        outputs.append(ended.stdout)
    assert outputs[0] == outputs[1]
