"""The data sets of a LightGBM training run that resumes.

When ``lightgbm.train`` continues a model, it replaces the ``init_score`` of the user's ``Dataset`` objects by the
model's predictions, and it cannot continue on a ``Dataset`` whose raw data it has freed. Both changes outlive the
training run, so the next trial that uses the same objects would begin from another trial's scores.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from hpo_plugins.integrations._shared import caller_arguments, of_another_model

from hpo_plugins.trial import TrainingHandle

_PREPARES = "reduced_valid_sets"
"""A variable that only ``lightgbm.train`` has, from before it constructs its data."""
_given: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""The ``init_score`` that the user gave to each Dataset of a training run."""


class TrainingData:
    """The data sets of one training run.

    Args:
        datasets: The training data and the validation data.

        params: The training run's parameters.

    Attributes:
        why_not_resumed: Why a resumed training run would differ from an uninterrupted one, None if it would not.
    """

    def __init__(self, datasets: Sequence[Any], params: Mapping[str, Any]) -> None:
        """Record the user's values before LightGBM changes them."""
        self.datasets = datasets
        self._n_classes = int(value_of(params, "num_class", "num_classes") or 1)
        self.why_not_resumed = _why_not_resumed(datasets[0], {**(datasets[0].params or {}), **params})
        for data in datasets:
            if _is_replaced(data):
                _given.setdefault(data, None)
            else:
                _given[data] = _init_score(data)
            _watch(data)

    def continue_from(self, path: str, model: Any, number: int) -> None:
        """Continue a trial's checkpoint with the scores that an uninterrupted training run would have.

        Args:
            path: The checkpoint.
            model: The model that LightGBM has read from it.
            number: The trial.

        Raises:
            CheckpointError: Its model does not fit the data.
        """
        try:
            if model.num_class != self._n_classes:
                raise ValueError(f"it has {model.num_class} classes, the training {self._n_classes}")  # noqa: TRY301
            for data in self.datasets:
                data.construct()
                if _given[data] is not None:
                    predicted = data.get_field("init_score")
                    given = np.asarray(_given[data], dtype=np.float64).reshape(predicted.shape, order="F")
                    data.set_field("init_score", predicted + given)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            self.start_over()
            raise of_another_model(Path(path), number, str(error)) from error

    def start_over(self) -> None:
        """Begin the training run without the model that it should have continued."""
        for data in self.datasets:
            _restore(data)

    def release(self, booster: Any) -> None:
        """Restore the user's Dataset objects, once a booster has its scores from them.

        Args:
            booster: The booster; it must not take the data for new.
        """
        for data in self.datasets:
            if data._predictor is not None:  # noqa: SLF001
                _restore(data)
        booster.train_set_version = self.datasets[0].version


def data_of_training() -> TrainingData | None:
    """Return the data of the ``lightgbm.train`` that is calling us, None if it is another function."""
    arguments = caller_arguments(("train",), _PREPARES)
    if not arguments:
        return None
    return TrainingData([arguments["train_set"], *arguments[_PREPARES]], arguments["params"])


def model_to_continue() -> Any:
    """Return the model that the ``lightgbm.train`` that is calling us continues, None if it begins a new one."""
    return caller_arguments(("train",), _PREPARES).get("predictor")


def value_of(params: Mapping[str, Any], *names: str) -> Any:
    """Return the value of a parameter by any of its names, None if it is not given."""
    return next((params[name] for name in names if params.get(name) is not None), None)


def boosting_of(params: Mapping[str, Any]) -> str:
    """Return the kind of boosting that a training run uses."""
    return str(value_of(params, "boosting", "boosting_type", "boost") or "gbdt")


def is_on(value: Any) -> bool:
    """Return whether a parameter is on, in any form that LightGBM takes."""
    return str(value).lower() in ("true", "1", "+")


def _why_not_resumed(data: Any, params: Mapping[str, Any]) -> str | None:
    parent = _parent(data)
    if boosting_of(params) in ("rf", "random_forest"):
        return "LightGBM cannot continue a random forest (boosting='rf')"
    if is_on(value_of(params, "linear_tree", "linear_trees")):
        return "with linear_tree=True, LightGBM continues a model otherwise than it would have trained it"
    if data.position is not None or (parent is not None and parent.position is not None):
        return "a saved model lacks the position bias that LightGBM learns from Dataset(position=)"
    if costs := [name for name in params if name.startswith("cegb_penalty_feature")]:
        return f"a saved model lacks the features that are paid for ({', '.join(costs)})"
    if parent is not None and parent.free_raw_data:
        return "its data is a subset of a Dataset whose raw data LightGBM frees; make that with free_raw_data=False"
    if data in _given and _is_freed(data):
        return (
            "several training runs share a Dataset whose raw data LightGBM has freed; make it with "
            "free_raw_data=False, or make a new one for each training run"
        )
    return None


def _parent(data: Any) -> Any:
    """Return the Dataset that a Dataset is a subset of, None if it is none."""
    return data.reference if data.used_indices is not None else None


def _is_freed(data: Any) -> bool:
    parent = _parent(data)
    return data._handle is not None and data.data is None and (parent is None or parent.data is None)  # noqa: SLF001


def _is_replaced(data: Any) -> bool:
    """Return whether LightGBM has replaced the user's scores already."""
    return data._handle is not None and data._predictor is not None  # noqa: SLF001


def _init_score(data: Any) -> Any:
    """Return the scores that a Dataset begins with."""
    if data._handle is not None:  # noqa: SLF001
        return data.get_field("init_score")
    if (parent := _parent(data)) is not None:
        scores = parent.construct().get_field("init_score")
        return None if scores is None else scores[np.asarray(data.used_indices)]
    return data.init_score


def _restore(data: Any) -> None:
    data._predictor = None  # noqa: SLF001
    given = _given.get(data)
    data.init_score = given
    if data._handle is not None:  # noqa: SLF001
        data.set_field("init_score", None)
        data.set_init_score(given)


def _watch(data: Any) -> None:
    """Let ``train`` begin on a Dataset that LightGBM refuses to continue on: our callback then says what to do."""
    if "_set_predictor" in vars(data):
        return
    reference, setter = weakref.ref(data), type(data)._set_predictor  # noqa: SLF001

    def set_predictor(predictor: Any) -> Any:
        data = reference()
        callbacks = caller_arguments(("train",), "init_model").get("callbacks") or ()
        trial = next((trial for each in callbacks if (trial := _resumes(each)) is not None), None)
        try:
            return setter(data, predictor)
        except lightgbm.basic.LightGBMError as error:
            _restore(data)
            if trial is None:
                raise
            if _is_freed(data):
                return data
            raise of_another_model(Path(str(trial.resume_from)), trial.trial_number, str(error)) from error

    data._set_predictor = set_predictor  # noqa: SLF001


def _resumes(callback: Any) -> TrainingHandle | None:
    """Return the trial of a TrialCallback, if it is to resume from a checkpoint now."""
    trial = getattr(callback, "_trial", None)
    return trial if isinstance(trial, TrainingHandle) and trial.resume_from is not None else None
