"""A loop of one's own on ranks that add up their states, paused and resumed: own_loop_ddp.py STORAGE RESULT."""

import json
import os
import sys
from pathlib import Path

import torch

import hpo_plugins as hpo


def main(storage, result):
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=storage, max_trials=8, seed=0, progress="off",
        strategy=hpo.Hyperband(max_resource=8, reduction_factor=2, pause=True, search="random"),
    )  # fmt: skip
    entries = []
    for trial in tuner:
        state = torch.zeros(1)
        if trial.resume_from is not None:
            state = torch.load(trial.resume_from)
        for epoch in range(trial.start_epoch + 1, 9):
            state += trial["x"] + rank
            torch.distributed.all_reduce(state)
            entries.append([trial.number, trial["x"], trial.seed, epoch, state.item()])
            stops = trial.report(epoch, {"loss": state.item() % 1 + 1 / epoch})
            if trial.save_is_due:
                trial.save(lambda path, state=state: torch.save(state, path))
            if stops:
                break
    summary = [tuner.best_trial.number, [[t.number, list(t.curve), t.attempts] for t in tuner.trials]]
    Path(f"{result}.{rank}").write_text(json.dumps([os.uname().nodename, entries, summary]))


if __name__ == "__main__":
    main(*sys.argv[1:])
    torch.distributed.destroy_process_group()
