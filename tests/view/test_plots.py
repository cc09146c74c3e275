"""Figures, on ordinary studies and on those at the edges."""

import statistics
from collections import Counter

import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import hpo_plugins as hpo
from hpo_plugins.view.insights import rank_agreement
from hpo_plugins.view.plots import KINDS, Plots, data
from hpo_plugins.view.plots.interactive import InteractivePlots
from hpo_plugins.view.plots.style import HIGHLIGHT

from .conftest import plain

# Names in every script: whether a machine has the glyphs is no matter of ours.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from", "ignore:Matplotlib currently does not support")


# Both renderers draw the same data.


def drawn(kind, study):
    """What both renderers have drawn of a study: by part of the figure, the sorted columns of each."""
    static, interactive = getattr(study.plot, kind)(), getattr(study.plot.interactive, kind)()
    return DRAWN[kind](static, interactive.to_plotly_json()["data"])


def rows(*columns):
    """Columns as rows, in an order that does not depend on that of drawing; None for what is missing."""
    found = [
        tuple(None if v is None or v != v else float(f"{v:.9g}") for v in row) for row in zip(*columns, strict=True)
    ]
    return sorted(found, key=lambda row: [(value is None, value or 0.0) for value in row])


def of_points(collection):
    return rows(*collection.get_offsets().data.T)


def of_bars(container, *, horizontal):
    bars = [(b.get_x(), b.get_y() + b.get_height() / 2, b.get_width()) for b in container]
    return rows(*zip(*bars, strict=True)) if horizontal else rows([b.get_height() for b in container])


def history_drawn(figure, traces):
    axes, points = figure.axes[0], [trace for trace in traces if trace["mode"] == "markers"]
    (line,) = [trace for trace in traces if trace["mode"] == "lines"]
    return {
        "values": (of_points(axes.collections[0]), sorted(row for t in points for row in rows(t["x"], t["y"]))),
        "best": (rows(*axes.lines[0].get_data()), rows(line["x"], line["y"])),
        "is step": (axes.lines[0].get_drawstyle() == "steps-post", line["line"]["shape"] == "hv"),
    }


def curves_drawn(figure, traces):
    lines = figure.axes[0].lines[: len(traces)]  # behind them, the milestones
    return {
        "all": (sorted(rows(*line.get_data()) for line in lines), sorted(rows(t["x"], t["y"]) for t in traces)),
        "in front": (rows(*lines[-1].get_data()), rows(traces[-1]["x"], traces[-1]["y"])),
    }


def parallel_drawn(figure, traces):
    """The lines of both, cut apart at the gaps."""
    n = len(figure.axes[0].get_xticks())
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == n and line.get_label() != "best"]
    heights = [t["y"][place : place + n] for t in traces for place in range(0, len(t["y"]), n + 1)]
    best = next(t for t in traces if t["name"] == "best")
    (own,) = [line for line in figure.axes[0].lines if line.get_label() == "best"]
    return {
        "all": (rows(*zip(*(line.get_ydata() for line in lines), strict=True)), rows(*zip(*heights, strict=True))),
        "best": (rows(own.get_ydata()), rows(best["y"][:n])),
    }


def importance_drawn(figure, traces):
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    bars, errors = axes.containers[1], axes.containers[0].lines[2][0]
    widths = [(end[0] - begin[0]) / 2 for begin, end in errors.get_segments()]
    return {
        "totals": (rows([bar.get_width() for bar in bars]), rows(traces[0]["x"])),
        "deviations": (rows(widths), rows(traces[0]["error_x"]["array"])),
        "names": (names, list(traces[0]["text"])),
    }


def slice_drawn(figure, traces):
    panels = [axes for axes in figure.axes if axes.collections]
    return {
        str(place): (of_points(axes.collections[0]), rows(trace["x"], trace["y"]))
        for place, (axes, trace) in enumerate(zip(panels, traces, strict=True))
    }


def beliefs_drawn(figure, traces):
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    behind = [axes for axes in figure.axes if axes.collections and not axes.get_xlabel()]
    beliefs, trials = traces[::2], traces[1::2]
    return {
        "trials": (
            [of_points(axes.collections[0]) for axes in panels],
            [rows(trace["x"], trace["y"]) for trace in trials],
        ),
        "good": (
            [
                sum(tuple(color[:3]) == to_rgb(HIGHLIGHT) for color in axes.collections[0].get_facecolors())
                for axes in panels
            ],
            [list(trace["marker"]["color"]).count(HIGHLIGHT) for trace in trials],
        ),
        "highest": (
            [round(float(axes.collections[0].get_paths()[0].vertices[:, 1].max()), 9) for axes in behind],
            [round(max(trace["y"]), 9) for trace in beliefs],
        ),
    }


def contour_drawn(figure, traces):
    axes, (surface, points, best) = figure.axes[0], traces
    filled, own, star = axes.collections
    return {
        "range": (
            [float(f"{value:.9g}") for value in (filled.zmin, filled.zmax)],
            [float(f"{bound(map(bound, surface['z'])):.9g}") for bound in (min, max)],
        ),
        "trials": (of_points(own), rows(points["x"], points["y"])),
        "best": (of_points(star), rows(best["x"], best["y"])),
    }


def timeline_drawn(figure, traces):
    bars = of_bars(figure.axes[0].patches, horizontal=True)
    return {"bars": (bars, sorted(row for t in traces for row in rows(t["base"], t["y"], t["x"])))}


def rungs_drawn(figure, traces):
    axes, (trace,) = figure.axes[0], traces
    labels = [label.get_text() for label in axes.get_xticklabels()]
    return {
        "counts": (of_bars(axes.patches, horizontal=False), rows(trace["y"])),
        "epochs": (labels, list(trace["x"])),
        "agreements": (
            sorted(text.get_text() for text in axes.texts if "r =" in text.get_text()),
            sorted(filter(None, trace["text"])),
        ),
    }  # fmt: skip


def pareto_drawn(figure, traces):
    axes = figure.axes[0]
    (front,) = [trace for trace in traces if trace.get("name") == "Pareto front"]
    points = [trace for trace in traces if trace["mode"] == "markers"]
    bars = axes.containers[0]
    scatters = [collection for collection in axes.collections if isinstance(collection, PathCollection)]
    ends = sorted(row for scatter in scatters for row in of_points(scatter))
    return {
        "trials": (ends, sorted(row for t in points for row in rows(t["x"], t["y"]))),
        "front": (rows(*bars.lines[0].get_data()), rows(front["x"], front["y"])),
        "deviations": (
            rows([(segment[1][1] - segment[0][1]) / 2 for segment in bars.lines[2][1].get_segments()]),
            rows(front["error_y"]["array"]),
        ),
    }  # fmt: skip


DRAWN = {name.removesuffix("_drawn"): value for name, value in list(globals().items()) if name.endswith("_drawn")}


@pytest.fixture
def shown(kind, demo, goals_demo):
    """An ordinary search that a figure can show."""
    return goals_demo if kind == "pareto" else demo


@pytest.mark.parametrize("kind", KINDS)
def test_both_renderers_draw_the_same(kind, shown):
    for part, (static, interactive) in drawn(kind, shown).items():
        assert static == interactive, part
        assert static, part


@pytest.mark.parametrize("kind", ["history", "curves", "parallel", "slice", "timeline"])
def test_both_renderers_draw_the_same_of_conditional_spaces(kind):
    space = {"a": hpo.Categorical(["x", "y"]), "b": hpo.Continuous(0, 1, when={"a": "x"}), "c": hpo.Continuous(0, 1)}
    study = plain(space, [[1 / (n + 1), 2 / (n + 1)] for n in range(12)])
    for part, (static, interactive) in drawn(kind, study).items():
        assert static == interactive, part


def test_every_figure_has_both_renderers_and_a_comparison():
    assert set(KINDS) == {name for name in vars(Plots) if not name.startswith("_")} - {"interactive"}
    assert set(KINDS) == {name for name in vars(InteractivePlots) if not name.startswith("_")}
    assert set(KINDS) == set(DRAWN)


def test_history_is_each_value_and_the_best_so_far():
    study = plain({"x": hpo.Continuous(0, 1)}, [[3.0], [4.0], [1.0], [2.0]])
    found = data.History.of(study._view())
    assert (found.numbers, found.values) == ([0, 1, 2, 3], [3.0, 4.0, 1.0, 2.0])
    assert (found.best_numbers, found.best_values) == ([0, 2, 3], [3.0, 1.0, 1.0])
    assert not found.is_log


def test_pareto_front_is_of_the_two_metrics(goals_demo):
    found = data.Pareto.of(goals_demo._view())
    assert found.names == ("latency", "loss")
    assert {t.number for t in found.front} == {t.number for t in goals_demo.best_trials}
    assert found.limits == [(0, 40.0, True)]
    assert [(p.x[-1], p.y[-1]) for p in found.paths] == [
        (p.trial.values["latency"], p.trial.values["loss"]) for p in found.paths
    ]
    assert max(len(path.x) for path in found.paths) == 9
    turned = data.Pareto.of(goals_demo._view(), "loss")
    assert turned.names == ("loss", "latency")
    with pytest.raises(hpo.InvalidArgument, match="a metric must be one of loss, latency"):
        goals_demo.plot.pareto("accuracy")


def test_pareto_of_one_objective_and_a_limit_has_the_limit_on_its_axis():
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Maximize("score"),
        constraints=[hpo.AtLeast("recall", 0.4)],
        max_trials=8,
        seed=0,
    )
    for trial in tuner:
        trial.report(1, {"score": 1 - trial["x"], "recall": trial["x"]})
    found = data.Pareto.of(tuner._view())
    assert (found.names, found.signs, found.limits) == (("recall", "score"), (-1, -1), [(0, 0.4, False)])
    assert tuner.best_trial.number in {t.number for t in found.front}
    assert tuner.plot.pareto().axes


def test_curves_are_those_of_the_trials_the_best_first(demo):
    found = data.Curves.of(demo._view())
    assert {c.trial.number: dict(zip(c.epochs, c.values, strict=True)) for c in found.curves} == {
        t.number: t.curve for t in demo.trials
    }
    assert found.curves[0].trial.number == demo.best_trial.number
    assert found.milestones == [1, 3, 9]


def test_rungs_count_the_trials_that_reach_them_and_the_end(demo):
    found = data.Rungs.of(demo._view())
    assert found.epochs == [1, 3, 9, 27]
    assert found.counts == [sum(t.epochs >= epoch for t in demo.trials) for epoch in found.epochs]
    assert found.agreements[:3] == [rank_agreement(demo._view())[epoch] for epoch in (1, 3, 9)]
    assert found.agreements[3] is None


def test_timeline_has_a_row_per_worker_and_seconds_from_the_first_start(demo):
    found, first = data.Timeline.of(demo._view()), demo.trials[0].started_at
    assert found.workers == ["worker 0"]
    assert found.starts == [t.started_at - first for t in demo.trials]
    assert found.lengths == [max(t.ended_at - t.started_at, 1e-3) for t in demo.trials]


def test_contour_is_what_the_surrogate_expects_at_the_best_trial_s_other_values(demo):
    found = data.Contour.of(demo._view(), "eta", "noise")
    place = {name: demo.space[name].to_unit(demo.best_trial.params[name]) for name in ("eta", "noise")}
    assert found.best == pytest.approx((place["eta"], place["noise"]))
    near = [min(range(data.GRID), key=lambda n: abs(found.ticks[n] - place[name])) for name in ("noise", "eta")]
    assert found.expected[near[0]][near[1]] == pytest.approx(demo.best_trial.value, abs=0.1)
    by_eta = [statistics.fmean(row[column] for row in found.expected) for column in range(data.GRID)]
    assert abs(by_eta.index(min(by_eta)) / data.GRID - place["eta"]) < 0.2  # eta matters, and its best is inside
    assert max(by_eta) > 2 * min(by_eta)


@pytest.mark.parametrize("count", [5, 24])
def test_thinned_curves_keep_both_ends(count):
    for length in (1, count, count + 1, 100, 1000):
        epochs = data.thinned(list(range(1, length + 1)), count)
        assert len(epochs) <= count
        assert (epochs[0], epochs[-1]) == (1, length)
        assert epochs == sorted(set(epochs))
    assert data.thinned([1, 2, 3], None) == [1, 2, 3]


def test_large_figures_are_cut_and_say_so():
    study = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, max_trials=2500)
    for trial in study:
        trial.report(1, {"loss": trial["x"]})
    view = study._view()
    assert data.Curves.of(view).note.startswith("867 of 2,500 curves.")
    assert data.Parallel.of(view).note.endswith(" 834 of 2,500 are drawn.")
    assert data.Timeline.of(view).note == "The last 2,000 of 2,500 trials."
    assert data.Timeline.of(view).trials[-1].number == 2499
    assert data.Curves.of(view).curves[0].trial.number == study.best_trial.number


# The renderers.


@pytest.mark.parametrize("kind", KINDS)
def test_figure_is_drawn(kind, shown):
    figure = getattr(shown.plot, kind)()
    assert isinstance(figure, Figure)
    assert any(axes.collections or axes.lines or axes.patches for axes in figure.axes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_study_gives_a_figure(kind, edge, tmp_path):
    getattr(edge.plot, kind)().savefig(tmp_path / "figure.svg")


@pytest.mark.parametrize("kind", KINDS)
def test_interactive_figure_is_drawn(kind, shown):
    figure = getattr(shown.plot.interactive, kind)()
    assert figure.data
    assert "<script>" not in figure.to_json()  # the name of a category: text, also under the pointer


@pytest.mark.parametrize("kind", KINDS)
def test_every_study_gives_an_interactive_figure(kind, edge):
    assert getattr(edge.plot.interactive, kind)().to_json()


def test_interactive_curves_are_those_of_the_trials(demo):
    traces = demo.plot.interactive.curves().data
    assert sorted(len(trace.x) for trace in traces) == sorted(trial.epochs for trial in demo.trials)
    assert f"trial {demo.best_trial.number} " in traces[-1].hovertemplate  # in front
    assert traces[-1].name == f"best, trial {demo.best_trial.number}"


def test_figure_of_a_stored_study_is_the_same(tmp_path):
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, max_trials=5, storage=tmp_path / "a.db"
    )
    for trial in tuner:
        trial.report(1, {"loss": trial["x"]})
    own, loaded = (each.plot.history().axes[0].collections[0] for each in (tuner, hpo.Tuner.load(tmp_path / "a.db")))
    assert own.get_offsets().tolist() == loaded.get_offsets().tolist()


def test_contour_takes_two_parameters_by_name(demo):
    axes = demo.plot.contour("noise", "eta").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("noise", "eta")
    with pytest.raises(hpo.InvalidArgument, match="a parameter must be one of eta, depth, kind, noise, but got 'etta'"):
        demo.plot.contour("etta")


def test_view_computes_its_lists_once_and_nobody_can_change_them(demo):
    view = demo._view()
    assert view.ranked is view.ranked
    assert view.valued is view.valued
    assert view.importances is view.importances
    assert isinstance(view.ranked, tuple)
    assert view.counts == Counter(record.state.value for record in demo.trials)
    with pytest.raises(TypeError, match="does not support item assignment"):
        view.counts["completed"] = 0


def test_view_stays_what_it_was_when_the_search_continues():
    study = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), seed=0, max_trials=4)
    study.ask().report(1, {"loss": 1.0})
    before = study._view()
    study.ask().report(1, {"loss": 0.5})
    assert [t.number for t in before.ranked] == [0]
    assert before.counts == {"running": 1}
    assert [t.number for t in study._view().ranked] == [1, 0]


def test_curves_dataframe_has_a_row_per_epoch(demo, edge):
    frame = demo.curves_dataframe()
    assert list(frame.columns) == ["number", "fold", "epoch", "seconds", "val_loss"]
    assert len(frame) == sum(t.epochs for t in demo.trials)
    assert {"number", "fold", "epoch"} <= set(edge.curves_dataframe().columns)
