"""Figures, on ordinary studies and on those at the edges."""

import pytest
from matplotlib.figure import Figure

import hpo_plugins as hpo
from hpo_plugins.view.plots import KINDS

# Names in every script: whether a machine has the glyphs is no matter of ours.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from", "ignore:Matplotlib currently does not support")


@pytest.mark.parametrize("kind", KINDS)
def test_figure_is_drawn(kind, demo, tmp_path):
    figure = getattr(demo.plot, kind)()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    assert any(axes.collections or axes.lines or axes.patches for axes in figure.axes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_study_gives_a_figure(kind, edge, tmp_path):
    getattr(edge.plot, kind)().savefig(tmp_path / "figure.svg")


@pytest.mark.parametrize("kind", KINDS)
def test_interactive_figure_is_drawn(kind, demo):
    figure = getattr(demo.plot.interactive, kind)()
    assert figure.data
    assert "<script>" not in figure.to_json()  # the name of a category: text, also under the pointer


@pytest.mark.parametrize("kind", KINDS)
def test_every_study_gives_an_interactive_figure(kind, edge):
    assert getattr(edge.plot.interactive, kind)().to_json()


def test_interactive_curves_are_those_of_the_trials(demo):
    traces = demo.plot.interactive.curves().data
    assert sorted(len(trace.x) for trace in traces) == sorted(trial.epochs for trial in demo.trials)
    assert f"trial {demo.best_trial.number} " in traces[-1].hovertemplate  # in front


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


def test_curves_dataframe_has_a_row_per_epoch(demo, edge):
    frame = demo.curves_dataframe()
    assert list(frame.columns) == ["number", "fold", "epoch", "seconds", "val_loss"]
    assert len(frame) == sum(t.epochs for t in demo.trials)
    assert {"number", "fold", "epoch"} <= set(edge.curves_dataframe().columns)
