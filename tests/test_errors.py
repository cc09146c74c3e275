"""The name that is suggested for a metric that was not reported."""

import pytest

from hpo_plugins.errors import MetricNotFound, nearest_name


@pytest.mark.parametrize(
    ("wanted", "names", "nearest"),
    [
        ("val_loss", ["loss", "accuracy"], None),
        ("val_loss", ["loss", "val_los"], "val_los"),
        (
            "val_loss",
            ["train_loss", "val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"],
            "val_loss/dataloader_idx_0",
        ),
        ("val_loss", ["val_loss_epoch", "val_loos"], "val_loss_epoch"),
        ("validation-logloss", ["train-logloss"], None),
        ("validation-logloss", ["train-logloss", "validation_0-logloss"], "validation_0-logloss"),
        ("validation:logloss", ["train-logloss", "validation-logloss"], "validation-logloss"),
        ("test-auc", ["train-auc", "eval-auc"], "eval-auc"),
        ("loss", ["val_loss"], "val_loss"),
        ("acc", ["accuracy", "loss"], "accuracy"),
        ("los", ["loss"], "loss"),
    ],
)
def test_validation_names_never_lead_to_training_names(wanted, names, nearest):
    assert nearest_name(wanted, names) == nearest
    message = str(MetricNotFound(wanted, names))
    assert (f"Did you mean {nearest!r}?" in message) == (nearest is not None)
