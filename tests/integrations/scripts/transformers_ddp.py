"""Trains a small network on two ranks; each writes which configurations it has trained, and for how long."""

import json
import sys

import torch
import transformers
from hpo_plugins.integrations.transformers import TrialCallback

import hpo_plugins as hpo


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x, labels):
        output = self.layer(x).squeeze(-1)
        return {"loss": ((output - labels) ** 2).mean(), "logits": output}


def main(storage, result):
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    rows = [{"x": row, "labels": row.sum()} for row in x]
    tuner = hpo.Tuner(
        {"learning_rate": hpo.Continuous(1e-5, 1e-1, "log")},
        hpo.Minimize("eval_loss"),
        strategy=hpo.Hyperband(max_resource=4, reduction_factor=2, pause=True, search="random"),
        max_trials=4, seed=0, storage=storage, progress="off",
    )  # fmt: skip
    epochs: dict[int, float] = {}
    for trial in tuner:
        torch.manual_seed(trial.number)
        args = transformers.TrainingArguments(
            result + ".out", eval_strategy="epoch", save_strategy="no", num_train_epochs=4, use_cpu=True, report_to=[],
            per_device_train_batch_size=8, disable_tqdm=True, dataloader_pin_memory=False, **trial.params,
        )  # fmt: skip
        trainer = transformers.Trainer(
            Network(), args, train_dataset=rows, eval_dataset=rows, callbacks=[TrialCallback(trial)]
        )
        trainer.train(resume_from_checkpoint=trial.resume_from)
        rank = args.process_index
        epochs[trial.number] = trainer.state.epoch
    with open(f"{result}.{rank}", "w") as file:  # noqa: PTH123 - a script of a test
        file.writelines(json.dumps(pair) + "\n" for pair in sorted(epochs.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
    torch.distributed.destroy_process_group()
