"""What each rank of a loop of one's own runs, in tests: STORAGE and FOLDS are to be replaced."""

PLAIN = """
    import json, sys
    import hpo_plugins as hpo

    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, storage=STORAGE, max_trials=6,
        strategy=hpo.Hyperband(max_resource=9),
    )
    trained = []
    for trial in tuner:
        handles = trial.folds(2) if FOLDS else [trial]
        for handle in handles:
            for epoch in range(1, 12):
                trained.append([trial.number, trial["x"], handle.number, epoch])
                if handle.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                    break
    print(json.dumps([trained, tuner.best_trial.number, len(tuner.trials)]))
"""
