"""Tune a Lightning module on handwritten digits; two processes train each trial (DDP).

Both processes run this script. The tuner gives them the same trials, and stops them at the same step.

pip install 'hpo-plugins[lightning]' scikit-learn
"""

import logging
import warnings

import lightning.pytorch as pl
import torch
from hpo_plugins.integrations.lightning import TrialCallback
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

import hpo_plugins as hpo

EPOCHS = 9


class Classifier(pl.LightningModule):
    """A network of two layers that logs its loss on the validation set, averaged over the processes."""

    def __init__(self, width: int, lr: float) -> None:
        """Build the layers."""
        super().__init__()
        self.lr = lr
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, _):
        """Log the loss of a batch."""
        loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("val_loss", loss, sync_dist=True)

    def configure_optimizers(self):
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main() -> None:
    """Run 6 trials."""
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    train, valid = random_split(data, [0.75, 0.25], torch.Generator().manual_seed(0))
    tuner = hpo.Tuner(
        {"width": hpo.Integer(8, 128, scale="log"), "lr": hpo.Continuous(1e-4, 1e-1, scale="log")},
        hpo.Minimize("val_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS, pause=True),
        points_to_evaluate=[{"width": 32, "lr": 1e-3}],
        max_trials=6,
        seed=0,
    )
    for trial in tuner:
        pl.seed_everything(0, verbose=False)
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",  # "gpu" on a machine with several
            devices=2,
            strategy="ddp",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[TrialCallback(trial)],
        )
        trainer.fit(
            Classifier(**trial.params),
            DataLoader(train, batch_size=64, shuffle=True),
            DataLoader(valid, batch_size=256),
            ckpt_path=trial.resume_from,  # None for a new trial
        )
    if trainer.is_global_zero:
        print(tuner.summary())


if __name__ == "__main__":
    main()
