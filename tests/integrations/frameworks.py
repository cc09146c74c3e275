"""Each framework as the contract's tests use it: one small training on scikit-learn's data sets."""

import importlib
import os
import tempfile

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from hpo_plugins.testing import Crash, Framework

os.environ.setdefault("KERAS_BACKEND", "torch")


class OurFramework(Framework):
    """A framework whose callback is in the module of its name."""

    def __init__(self, metric):
        name = type(self).__name__.lower()
        pytest.importorskip(name)
        self.metric = metric
        self.callback = importlib.import_module(f"hpo_plugins.integrations.{name}").TrialCallback


def breast_cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return x[:400], y[:400], x[400:], y[400:]


def digits():
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return x[:96], y[:96], x[96:160], y[96:160]


class XGBoost(OurFramework):
    def __init__(self):
        super().__init__("validation-logloss")

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import xgboost
        from hpo_plugins.integrations.xgboost import TrialCallback

        trained = 0 if model is None else model.num_boosted_rounds()  # XGBoost counts from 0 in each call

        class Crashing(xgboost.callback.TrainingCallback):
            def before_iteration(self, model, epoch, evals_log):
                if epoch + trained == crash_after:
                    raise Crash
                return False

        x, y, xv, yv = breast_cancer()
        data = xgboost.DMatrix(x, y, nthread=1)
        callbacks = [TrialCallback(handle), *([] if crash_after is None else [Crashing()])]
        return xgboost.train(
            {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "eta": handle["rate"]},
            data, epochs, evals=[(xgboost.DMatrix(xv, yv, nthread=1), "validation")], verbose_eval=False,
            callbacks=callbacks, xgb_model=model,
        )  # fmt: skip

    def load(self, record):
        from hpo_plugins.integrations.xgboost import load_model

        return load_model(record)

    def predict(self, model):
        import xgboost

        return model.predict(xgboost.DMatrix(breast_cancer()[2], nthread=1))

    def epochs_of(self, model):
        return model.num_boosted_rounds()


class LightGBM(OurFramework):
    def __init__(self):
        super().__init__("validation-binary_logloss")

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import lightgbm
        from hpo_plugins.integrations.lightgbm import TrialCallback

        def crash(env):
            if env.iteration == crash_after:
                raise Crash

        x, y, xv, yv = breast_cancer()
        data = lightgbm.Dataset(x, y)
        return lightgbm.train(
            {"objective": "binary", "num_leaves": 7, "num_threads": 1, "verbosity": -1, "eta": handle["rate"]},
            data, epochs, valid_sets=[lightgbm.Dataset(xv, yv, reference=data)], valid_names=["validation"],
            callbacks=[TrialCallback(handle), crash], init_model=handle.resume_from or model,
        )  # fmt: skip

    def load(self, record):
        from hpo_plugins.integrations.lightgbm import load_model

        return load_model(record)

    def predict(self, model):
        return model.predict(breast_cancer()[2])

    def epochs_of(self, model):
        return model.num_trees()


class CatBoost(OurFramework):
    def __init__(self):
        super().__init__("validation-Logloss")

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import catboost
        from hpo_plugins.integrations.catboost import TrialCallback, snapshot

        trained = 0 if model is None else model.tree_count_  # CatBoost counts from 1 in each call

        class Crashing:
            def after_iteration(self, info):
                if trained + info.iteration - 1 == crash_after:
                    raise Crash
                return True

        x, y, xv, yv = breast_cancer()
        classifier = catboost.CatBoostClassifier(
            iterations=epochs, depth=3, thread_count=1, verbose=False, learning_rate=handle["rate"], random_seed=0,
            use_best_model=False, train_dir=tempfile.gettempdir() + "/catboost",
        )  # fmt: skip
        try:
            return classifier.fit(
                x, y, eval_set=(xv, yv), init_model=model, callbacks=[Crashing(), TrialCallback(handle)],
                **snapshot(handle, seconds=0),
            )  # fmt: skip
        except catboost.CatBoostError as error:
            if Crash.__name__ in str(error):  # CatBoost's error contains that of a callback as text
                raise Crash from error
            raise

    def load(self, record):
        from hpo_plugins.integrations.catboost import load_model

        return load_model(record)

    def predict(self, model):
        return model.predict_proba(breast_cancer()[2])

    def epochs_of(self, model):
        return model.tree_count_


class Keras(OurFramework):
    def __init__(self):
        super().__init__("val_loss")

    def build(self, rate):
        import keras

        model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(10, activation="softmax")])
        model.compile(keras.optimizers.SGD(rate, momentum=0.5), "sparse_categorical_crossentropy")
        return model

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import keras
        from hpo_plugins.integrations.keras import TrialCallback

        class Crashing(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                if crash_after is not None and handle._training.epoch == crash_after and batch == 1:
                    raise Crash

        if model is None:
            keras.utils.set_random_seed(0)
            model = self.build(handle["rate"])
        x, y, xv, yv = digits()
        model.fit(
            x, y, validation_data=(xv, yv), epochs=epochs, batch_size=32, verbose=0,
            callbacks=[TrialCallback(handle), Crashing()],
        )  # fmt: skip
        return model

    def load(self, record):
        from hpo_plugins.integrations.keras import load_model

        return load_model(record, self.build(**record.params))

    def predict(self, model):
        return np.asarray(model.predict(digits()[2], verbose=0))


class Lightning(OurFramework):
    def __init__(self):
        super().__init__("val_loss")

    def build(self, rate):
        import lightning
        import torch

        class Network(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(64, 10)

            def training_step(self, batch, index):
                return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

            def validation_step(self, batch, index):
                self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), rate, momentum=0.5)

        return Network()

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import lightning
        import torch
        from hpo_plugins.integrations.lightning import TrialCallback
        from torch.utils.data import DataLoader, TensorDataset

        class Crashing(lightning.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                if crash_after is not None and handle._training.epoch == crash_after and batch_idx == 1:
                    raise Crash

        if model is None:
            torch.manual_seed(0)
            model = self.build(handle["rate"])
        x, y, xv, yv = (torch.from_numpy(np.asarray(part)) for part in digits())
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tempfile.gettempdir(),
            callbacks=[TrialCallback(handle), Crashing()],
        )  # fmt: skip
        train = DataLoader(TensorDataset(x, y), 32, shuffle=True)
        trainer.fit(model, train, DataLoader(TensorDataset(xv, yv), 64), ckpt_path=handle.resume_from)
        return model

    def load(self, record):
        from hpo_plugins.integrations.lightning import load_model

        return load_model(record, self.build(**record.params))

    def predict(self, model):
        import torch

        with torch.no_grad():
            return model.layer(torch.from_numpy(digits()[2])).numpy()


class Transformers(OurFramework):
    def __init__(self):
        super().__init__("eval_loss")

    def build(self):
        import torch

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(64, 10)

            def forward(self, x, labels):
                logits = self.layer(x)
                return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

        return Network()

    def fit(self, handle, *, epochs, crash_after=None, model=None):
        import torch
        import transformers
        from hpo_plugins.integrations.transformers import TrialCallback

        class Crashing(transformers.TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if crash_after is not None and handle._training.epoch == crash_after and state.global_step % 3 == 1:
                    raise Crash

        if model is None:
            torch.manual_seed(0)
            model = self.build()
        x, y, xv, yv = digits()
        rows, held = ([{"x": a, "labels": int(b)} for a, b in zip(*part, strict=True)] for part in ((x, y), (xv, yv)))
        args = transformers.TrainingArguments(
            tempfile.mkdtemp(), eval_strategy="epoch", save_strategy="no", logging_strategy="epoch", report_to=[],
            num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=handle["rate"], use_cpu=True,
            disable_tqdm=True, dataloader_pin_memory=False, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, args, train_dataset=rows, eval_dataset=held, callbacks=[TrialCallback(handle), Crashing()]
        )
        trainer.train(resume_from_checkpoint=handle.resume_from)
        return model

    def load(self, record):
        from hpo_plugins.integrations.transformers import load_model

        return load_model(record, self.build())

    def predict(self, model):
        import torch

        with torch.no_grad():
            return model.layer(torch.from_numpy(digits()[2])).numpy()


FRAMEWORKS = {
    "xgboost": XGBoost,
    "lightgbm": LightGBM,
    "catboost": CatBoost,
    "keras": Keras,
    "lightning": Lightning,
    "transformers": Transformers,
}
