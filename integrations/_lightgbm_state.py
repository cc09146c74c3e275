"""The checkpoint of a LightGBM training run: a model that LightGBM reads, with the evaluation history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
from hpo_plugins.integrations._lightgbm_data import boosting_of, is_on, value_of
from hpo_plugins.integrations._shared import damaged, of_another_model

from hpo_plugins.trial import Phase

_LOG = "hpo_plugins:"
"""Begins the line of a saved model that contains its evaluation history; LightGBM skips it."""
_LAST_LINE = "pandas_categorical:"
_SEEDS = ("bagging_seed", "feature_fraction_seed", "extra_seed", "drop_seed", "objective_seed")
_SAMPLING = {
    "bagging_fraction": ("bagging_fraction", "sub_row", "subsample", "bagging"),
    "pos_bagging_fraction": ("pos_bagging_fraction", "pos_sub_row", "pos_subsample", "pos_bagging"),
    "neg_bagging_fraction": ("neg_bagging_fraction", "neg_sub_row", "neg_subsample", "neg_bagging"),
    "feature_fraction": ("feature_fraction", "sub_feature", "colsample_bytree"),
    "feature_fraction_bynode": ("feature_fraction_bynode", "sub_feature_bynode", "colsample_bynode"),
}
"""Parameters that draw unless they are 1, with their aliases."""
_DRAWING = {"extra_trees": ("extra_trees", "extra_tree"), "use_quantized_grad": ("use_quantized_grad",)}
"""Parameters that draw if they are on, with their aliases."""
_XENDCG = ("rank_xendcg", "xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart")
_STRUCTURE = ("num_class=", "num_tree_per_iteration=", "max_feature_idx=", "objective=")
"""Lines of a saved model that are the same in every round of a training run."""
Evaluation = list[tuple[str, str, float, bool]]
"""The report of one round: data, metric, value, whether higher is better."""


def results_of(evaluation: Evaluation) -> list[Any]:
    """Return a saved evaluation as LightGBM's callbacks take it: named tuples since 4.7, plain ones before."""
    return list(lightgbm.callback.EarlyStopException(0, [tuple(result) for result in evaluation]).best_score)


def write(path: Path, model: Any, log: list[Evaluation]) -> None:
    """Write a model that LightGBM reads, with the evaluation history in a line that it skips."""
    text = model.model_to_string(num_iteration=-1)
    end = text.rindex(_LAST_LINE)
    path.write_text(f"{text[:end]}{_LOG}{json.dumps(log)}\n{text[end:]}", encoding="utf-8")


def read_log(path: Path, trial: int, rounds: int) -> list[Evaluation]:
    """Return the evaluation history of a checkpoint.

    Raises:
        CheckpointError: It has none, or one of another number of rounds.
    """
    try:
        text = path.read_text(encoding="utf-8")
        line = text[text.rindex(_LOG) + len(_LOG) :].partition("\n")[0]
        log = msgspec.json.decode(line, type=list[Evaluation])
        if len(log) != rounds:
            raise ValueError(f"its evaluation history has {len(log)} rounds instead of {rounds}")  # noqa: TRY301
    except (OSError, ValueError) as error:
        raise damaged(path, "LightGBM's TrialCallback", trial, error) from error
    return log


def rounds_of(phase: Phase) -> int:
    """Return the number of rounds of the model of a phase's checkpoint."""
    text = Path(str(phase.checkpoint)).read_text(encoding="utf-8", errors="replace")
    per_round = text.partition("num_tree_per_iteration=")[2].partition("\n")[0]
    return text.count("\nTree=") // (int(per_round) if per_round.isdecimal() else 1)


def check_structure(path: Path, model: Any, number: int) -> None:
    """Raise CheckpointError if a checkpoint is of a model with another objective, or of other data."""
    saved, given = (
        {
            line.partition("=")[0]: line
            for line in text.partition("\nTree=")[0].splitlines()
            if line.startswith(_STRUCTURE)
        }
        for text in (path.read_text(encoding="utf-8"), model.model_to_string(num_iteration=1))
    )
    for name in saved | given:
        if saved.get(name) != given.get(name):
            difference = f"it has {saved.get(name, f'no {name}')}, the training {given.get(name, f'no {name}')}"
            raise of_another_model(path, number, difference)


def draws_of(params: Mapping[str, Any]) -> list[str]:
    """Return the parameters with which a training run draws random numbers."""
    drawn = [
        f"{name}={value}"
        for name, aliases in _SAMPLING.items()
        if float((value := value_of(params, *aliases)) or 1) != 1
    ]
    boosting = boosting_of(params)
    drawn += [f"boosting={boosting}"] * (boosting in ("dart", "goss"))
    drawn += ["data_sample_strategy=goss"] * (params.get("data_sample_strategy") == "goss")
    drawn += [name for name, aliases in _DRAWING.items() if is_on(value_of(params, *aliases))]
    drawn += [f"objective={params['objective']}"] * (params.get("objective") in _XENDCG)
    return drawn


def draw_anew(env: Any, trained: int) -> None:
    """Change the seeds of a resumed training run, so that it does not repeat the draws of the first rounds."""
    base = int(env.params.get("seed") or env.params.get("random_state") or 0)
    env.model.reset_parameter({name: (base + trained * 1_000_003 + place) % 2**31 for place, name in enumerate(_SEEDS)})
