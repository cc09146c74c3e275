"""Several tuners in the threads of one process share caches, and nothing else."""

import threading

import hpo_plugins as hpo

SPACE = {"x": hpo.Continuous(0, 1), "kind": hpo.Categorical(["a", "b"])}


def search(seed):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=hpo.Bayesian(), max_trials=14, seed=seed)
    for trial in tuner:
        trial.report(1, {"loss": (trial["x"] - 0.3) ** 2})
    return [(t.params, t.state, t.value) for t in tuner.trials]


def test_tuners_in_threads_choose_what_they_choose_alone():
    alone = [search(seed) for seed in range(4)]
    together = [None] * 4

    def work(seed):
        together[seed] = search(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
