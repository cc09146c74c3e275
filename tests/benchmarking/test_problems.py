"""Training runs of the benchmarks: gradients, kept runs, and a curve that does not change."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.problems.numpy_networks import Network, Value
from benchmarks.problems.recorded_runs import RecordedRuns

real = pytest.importorskip("benchmarks.problems.real_trainings")


def gru(net, rng):
    table, inputs, hidden = (net.parameter(0.5, *shape) for shape in ((5, 3), (3, 12), (4, 12)))
    bias, last, offset = net.parameter(0.1, 12), net.parameter(0.5, 4, 5), net.parameter(0.1, 5)
    codes, targets = rng.integers(5, size=(2, 6)), rng.integers(5, size=(2, 6))
    return lambda: net.cross_entropy(
        net.linear(net.gru(net.embedding(codes, table), inputs, hidden, bias), last, offset), targets
    )


def perceptron(net, rng):
    first, offset = net.parameter(0.5, 6, 7), net.parameter(0.1, 7)
    second, last = net.parameter(0.5, 7, 4), net.parameter(0.1, 4)
    x, targets = rng.standard_normal((9, 6)).astype(np.float32), rng.integers(4, size=9)
    return lambda: net.cross_entropy(
        net.linear(net.relu(net.linear(Value(x), first, offset, inner=False)), second, last), targets
    )


@pytest.mark.parametrize(("build", "step", "error"), [(gru, 1e-2, 2e-4), (perceptron, 1e-6, 1e-6)])
def test_gradients_are_differences(build, step, error):
    rng = np.random.default_rng(0)
    net = Network(rng)
    loss = build(net, rng)
    for value in net._parameters:
        value.data = value.data.astype(
            np.float64
        )  # small steps need it, over the kinks of relu; a GRU's states are float32
    net.pack()
    net.is_training = True
    loss()
    net.backward()
    net.is_training = False
    gradients = net.gradients.copy()
    for place in rng.choice(len(gradients), 40, replace=False):
        at = net.weights[place]
        sides = []
        for side in (step, -step):
            net.weights[place] = at + side
            sides.append(loss())
        net.weights[place] = at
        assert gradients[place] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=error)


@pytest.mark.parametrize(("step", "expected"), [("sgd", -0.1 * 2.1), ("adamw", -0.1 / (1 + 1e-8) - 0.1 * 0.1)])
def test_a_first_step_of_an_optimiser(step, expected):
    net = Network(np.random.default_rng(0))
    value = net.parameter(0, 1)
    net.pack()
    net.weights[:] = 1.0
    value.gradient[:] = 2.0
    if step == "sgd":
        net.sgd(0.1, 0.9, 0.1)
    else:
        net.adamw(0.1, 0.9, 0.1)
    assert net.weights[0] - 1 == pytest.approx(expected, rel=1e-5)
    assert net.gradients[0] == 0


def test_a_run_is_trained_as_far_as_asked_and_once(tmp_path):
    trained = []

    def start(params):
        for epoch in itertools.count(1):
            trained.append(epoch)
            yield params["x"] * epoch

    runs = RecordedRuns("task", start, tmp_path)
    run = runs.run({"x": 2.0})
    assert (run.value(1), trained) == (4.0, [1, 2])
    assert runs.run({"x": 2.0}) is run
    runs.save()
    again = RecordedRuns("task", start, tmp_path).run({"x": 2.0})
    assert ([again.value(0), again.value(1)], trained) == ([2.0, 4.0], [1, 2])
    assert (again.value(2), trained[2:]) == (6.0, [1, 2, 3])  # to get there
    assert RecordedRuns("another version", start, tmp_path).run({"x": 2.0}).values == []


def test_a_run_that_diverged_stays_so(tmp_path):
    runs = RecordedRuns("task", lambda _: iter([1.0, math.inf]), tmp_path)
    run = runs.run({})
    assert run.value(0) == 1.0
    assert math.isnan(run.value(5))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp_digits", [0.14, 0.24, 0.456]),
        ("gru_text", [-3.905, -3.896, -3.882]),
    ],
)
def test_a_task_learns_and_its_runs_repeat(name, expected):
    middle = {each: parameter.from_unit(0.5) for each, parameter in real.TASKS[name].space.items()}
    params = real.plain(name, middle)
    first, second = (list(itertools.islice(real.start(name, params), 3)) for _ in range(2))
    assert first == second
    assert first == pytest.approx(expected, abs=0.03)  # of another BLAS
    assert real.seconds_of_an_epoch(name, params) == pytest.approx(
        real.KNOWN[name]["training_seconds"] / real.TASKS[name].epochs, rel=0.5
    )
