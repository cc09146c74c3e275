"""Finetuning of pretrained models: of all weights, or of low-rank adapters. Sources are in docs/decisions/0034."""

from __future__ import annotations

from typing import overload

from hpo_plugins._validation import whole_number
from hpo_plugins.space import Categorical, Continuous, Ordinal, Params
from hpo_plugins.spaces.made import SpaceDict, batch_sizes, believed, or_portfolio


@overload
def transformers_finetuning(*, batch_size: int = ..., portfolio: None = ...) -> SpaceDict: ...


@overload
def transformers_finetuning(*, batch_size: int = ..., portfolio: int) -> list[Params]: ...


def transformers_finetuning(*, batch_size: int = 16, portfolio: int | None = None) -> SpaceDict | list[Params]:
    """Return a space for ``transformers.TrainingArguments`` that finetune all weights, or configurations of it.

    ``warmup_steps`` is the fraction of all steps that Transformers 5 accepts there; Transformers 4 takes it as
    ``warmup_ratio``.

    Args:
        batch_size: The batch size per device that you believe in; the believed learning rate does not depend on it.
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: A number is not a whole number of at least 1.
    """
    whole_number("batch_size", batch_size, at_least=1)
    space: SpaceDict = {
        "learning_rate": believed(Continuous(1e-6, 1e-3, scale="log"), 3e-5, "medium"),
        "per_device_train_batch_size": batch_sizes(batch_size, (8, 16, 32, 64)),
        "weight_decay": believed(Continuous(1e-3, 0.3, scale="log"), 0.01, "low"),
        "warmup_steps": believed(Continuous(0.0, 0.2), 0.06, "low"),
        "lr_scheduler_type": Categorical(["linear", "cosine", "constant_with_warmup"], prior=(0.5, 0.35, 0.15)),
    }
    return or_portfolio(space, portfolio)


@overload
def lora(*, portfolio: None = ...) -> SpaceDict: ...


@overload
def lora(*, portfolio: int) -> list[Params]: ...


def lora(*, portfolio: int | None = None) -> SpaceDict | list[Params]:
    """Return a space for low-rank adapters, or configurations of it.

    ``r``, ``lora_alpha`` and ``lora_dropout`` are arguments of ``peft.LoraConfig``; ``learning_rate`` is one of
    ``transformers.TrainingArguments``, about ten times that of finetuning all weights.

    Args:
        portfolio: Return so many configurations for ``points_to_evaluate`` instead of the space: draws of the belief.

    Raises:
        InvalidArgument: ``portfolio`` is not a whole number of at least 1.
    """
    space: SpaceDict = {
        "learning_rate": believed(Continuous(1e-5, 3e-3, scale="log"), 2e-4, "medium"),
        "r": Ordinal([4, 8, 16, 32, 64], prior=16),
        "lora_alpha": Ordinal([8, 16, 32, 64, 128], prior=32),
        "lora_dropout": believed(Continuous(0.0, 0.2), 0.05, "low"),
    }
    return or_portfolio(space, portfolio)
