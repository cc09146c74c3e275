"""Train a Lightning module on handwritten digits with two processes (DDP).

pip install lightning scikit-learn
"""

import logging
import warnings

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

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
    """Train once."""
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    train, valid = random_split(data, [0.75, 0.25], torch.Generator().manual_seed(0))
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
    )
    trainer.fit(
        Classifier(width=32, lr=1e-3),
        DataLoader(train, batch_size=64, shuffle=True),
        DataLoader(valid, batch_size=256),
    )
    if trainer.is_global_zero:
        print(f"val_loss: {trainer.callback_metrics['val_loss']:.3f}")


if __name__ == "__main__":
    main()
