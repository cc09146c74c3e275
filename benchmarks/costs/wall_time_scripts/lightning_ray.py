import lightning.pytorch as pl
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from torch.utils.data import DataLoader, TensorDataset
from watch import digits, note, training

quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Classifier(pl.LightningModule):
    def __init__(self, units, dropout, rate):
        super().__init__()
        nn, self.rate = torch.nn, rate
        self.layers = nn.Sequential(nn.Linear(64, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, 10))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.rate)


class Note(pl.Callback):
    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            note(loss=float(trainer.callback_metrics["val_loss"]))


class Report(pl.Callback):
    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            tune.report({"loss": float(trainer.callback_metrics["val_loss"])})


def run(params):
    parts = [TensorDataset(torch.tensor(x), torch.tensor(y)) for x, y in digits()]
    loaders = DataLoader(parts[0], 64, shuffle=True), DataLoader(parts[1], 450)
    callbacks = [Note(), Report()]
    with training():
        pl.Trainer(max_epochs=27, callbacks=callbacks, **quiet).fit(Classifier(**params), *loaders)


space = {
    "units": tune.lograndint(8, 129),
    "dropout": tune.uniform(0.0, 0.5),
    "rate": tune.loguniform(1e-4, 1e-1),
}
config = tune.TuneConfig(
    metric="loss", mode="min", num_samples=-1, scheduler=ASHAScheduler(max_t=27), max_concurrent_trials=1
)
tune.Tuner(run, param_space=space, tune_config=config, run_config=tune.RunConfig(verbose=0)).fit()
