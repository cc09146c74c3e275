"""Out-of-memory errors are recognised in all frameworks, without importing one, and the search goes on."""

import gc
import sys
import types
import weakref

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.coordination.out_of_memory import free_memory, is_out_of_memory

X = {"x": hpo.Continuous(0, 1)}
LOSS = hpo.Minimize("loss")


def made(module, name, *bases):
    return type(name, bases or (RuntimeError,), {"__module__": module})


OURS = [
    MemoryError(),
    made("numpy._core._exceptions", "_ArrayMemoryError", MemoryError)("Unable to allocate 8.00 PiB"),
    made("torch", "OutOfMemoryError")("CUDA out of memory. Tried to allocate 2.00 GiB."),
    made("torch.cuda", "OutOfMemoryError")("HIP out of memory."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, other allocations: 1.1 GB)"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    made("jaxlib._jax", "XlaRuntimeError")("RESOURCE_EXHAUSTED: Out of memory allocating 1099511627776 bytes."),
    made("tensorflow.python.framework.errors_impl", "ResourceExhaustedError", Exception)("OOM when allocating tensor"),
    made("xgboost.core", "XGBoostError", ValueError)(
        "[10:00:00] common.h:41: cudaErrorMemoryAllocation: out of memory"
    ),
    made("xgboost.core", "XGBoostError", ValueError)("std::bad_alloc"),
    made("lightgbm.basic", "LightGBMError", Exception)("bad allocation: std::bad_alloc"),
    made("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("Out of memory allocating 8,000,000,000 bytes"),
    OSError(12, "Cannot allocate memory"),
]
OTHERS = [
    ValueError("the text says: out of memory"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("a column named outofmemory"),
    KeyError("out of memory"),
    "out of memory",
    None,
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_errors_of_frameworks_are_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_causes_and_groups_are_searched():
    for error in (ExceptionGroup("ranks", [ValueError("x"), MemoryError()]), _caused()):
        assert is_out_of_memory(error)
    hidden = _caused()
    hidden.__cause__, hidden.__suppress_context__ = None, True
    assert not is_out_of_memory(hidden)
    circle = ValueError("x")
    circle.__context__ = circle
    assert not is_out_of_memory(circle)


def _caused():
    try:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise ValueError("the training has failed") from cause
    except ValueError as error:
        return error


def test_real_allocations_that_fail_are_recognised():
    torch = pytest.importorskip("torch")
    for allocate in (lambda: np.ones(2**50), lambda: torch.empty(2**50)):
        with pytest.raises((MemoryError, RuntimeError), match=r"allocate") as raised:
            allocate()
        assert is_out_of_memory(raised.value)


def test_trial_fails_with_that_reason_and_the_run_goes_on():
    tuner = hpo.Tuner(X, LOSS, max_trials=4, seed=0)

    def train(trial):
        if trial.number == 1:
            trial.report(1, {"loss": 1.0})
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        trial.report(1, {"loss": 1.0})

    tuner.run(train)
    assert [t.state.value for t in tuner.trials] == ["completed", "failed", "completed", "completed"]
    assert tuner.trials[1].stop_rule == "out of memory"
    assert tuner.trials[1].error == "out of memory: RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB."


def test_error_reaches_the_users_own_loop():
    tuner = hpo.Tuner(X, LOSS, max_trials=2, seed=0)
    with pytest.raises(MemoryError):
        for _ in tuner:
            raise MemoryError
    for trial in tuner:
        trial.fail(MemoryError("no room"))
    assert [t.stop_rule for t in tuner.trials] == ["out of memory"] * 2


def test_first_trials_that_all_run_out_of_memory_end_the_run():
    tuner = hpo.Tuner(X, LOSS, max_trials=50, seed=0)

    def train(trial):
        raise MemoryError(f"trial {trial.number}")

    with pytest.raises(MemoryError, match="trial 4"):
        tuner.run(train)
    assert len(tuner.trials) == 5


@pytest.mark.parametrize(("listed", "attempts"), [((MemoryError,), 3), ((Exception,), 1), ((RuntimeError,), 1)])
def test_only_listed_out_of_memory_errors_are_retried(listed, attempts):
    tuner = hpo.Tuner(X, LOSS, max_trials=2, seed=0, retry_on=listed, retries=2)

    def train(trial):
        if not trial.number:
            raise MemoryError("no room")
        trial.report(1, {"loss": 1.0})

    tuner.run(train)
    assert [t.attempts for t in tuner.trials] == [attempts, 1]
    assert tuner.trials[0].stop_rule == "out of memory"
    assert tuner.trials[1].state is hpo.TrialState.COMPLETED


class Model:
    def __init__(self):
        self.itself = self  # only the garbage collector frees it


def test_memory_is_free_before_the_next_trial():
    tuner = hpo.Tuner(X, LOSS, max_trials=3, seed=0)
    models = []

    def train(trial):
        assert [model() for model in models] == [None] * len(models)
        model = Model()
        models.append(weakref.ref(model))
        raise MemoryError

    gc.disable()
    try:
        tuner.run(train)
    finally:
        gc.enable()
    assert len(models) == 3


def test_cache_of_pytorch_is_emptied_if_it_is_loaded(monkeypatch):
    emptied = []
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            is_available=lambda: True, is_initialized=lambda: True, empty_cache=lambda: emptied.append("cuda")
        ),
        mps=types.SimpleNamespace(empty_cache=lambda: emptied.append("mps")),
        backends=types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: True)),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    free_memory()
    assert emptied == ["cuda", "mps"]
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace())
    free_memory()  # another module of that name
