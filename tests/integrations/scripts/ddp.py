"""Tune trials of a small classifier with two processes: ddp.py STRATEGY STORAGE RESULT [METRIC [pause]]."""

import atexit
import json
import os
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from hpo_plugins.integrations.lightning import TrialCallback
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import hpo_plugins as hpo

warnings.simplefilter("ignore")
EPOCHS = 6


@atexit.register  # before anything else: so it runs after everything else
def note_threads():
    """Write which of gloo's threads this process would end with."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    with Path(sys.argv[3] + ".threads").open("a") as file:
        file.write(json.dumps([name for name in names if name.startswith("pt_gloo")]) + "\n")


class Classifier(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.layer = torch.nn.Linear(64, 10)
        self.shard_losses = []

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        # Not synchronised on purpose: each rank logs the loss of its own shard.
        self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))
        self.log("shard", float(self.global_rank))

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.shard_losses.append(self.trainer.callback_metrics["val_loss"].item())

    def on_fit_end(self):
        # What this rank did, for the test to compare: epochs trained and trial parameters.
        with Path(sys.argv[3] + f".rank{self.global_rank}").open("a") as file:
            file.write(
                json.dumps({"epochs": self.trainer.current_epoch, "lr": self.lr, "val_loss": self.shard_losses}) + "\n"
            )

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def main():
    strategy, storage, result = sys.argv[1:4]
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    train, val = torch.utils.data.Subset(data, range(256)), torch.utils.data.Subset(data, range(256, 512))
    tuner = hpo.Tuner(
        {"lr": hpo.Categorical([0.5, 1e-6, 0.1, 1e-7])},
        hpo.Minimize(sys.argv[4] if len(sys.argv) > 4 else "val_loss"),
        strategy=hpo.Hyperband(min_resource=2, max_resource=EPOCHS - 1, reduction_factor=2, pause="pause" in sys.argv),
        max_trials=2,  # each starts its ranks anew
        seed=1,
        storage=None if storage == "memory" else storage,
    )
    for trial in tuner:
        pl.seed_everything(0, verbose=False)
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            devices=int(os.environ.get("LOCAL_WORLD_SIZE", "2")),
            num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),  # machines, as torchrun says
            strategy=strategy,
            callbacks=[TrialCallback(trial)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loaders = DataLoader(train, batch_size=32), DataLoader(val, batch_size=32)
        trainer.fit(Classifier(trial["lr"]), *loaders, ckpt_path=trial.resume_from)
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
        trials = [
            {
                "params": t.params,
                "state": t.state,
                "curve": t.curve,
                "reason": t.stop_reason,
                "attempts": t.attempts,
                "names": sorted(t.metrics[1]) if t.metrics else [],
            }
            for t in tuner.trials
        ]
        Path(result).write_text(json.dumps(trials))
    else:
        Path(result + ".follower").write_text(json.dumps([t.params for t in tuner.trials]))


if __name__ == "__main__":
    main()
