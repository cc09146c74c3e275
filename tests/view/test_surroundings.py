"""The live view in real surroundings: beside Keras' and Lightning's own bars in tmux, and in a notebook."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest

KERAS = """
    import keras, numpy as np
    from hpo_plugins.integrations.keras import TrialCallback
    import hpo_plugins as hpo
    x, y = np.random.default_rng(0).random((64, 4)), np.arange(64) % 2
    tuner = hpo.Tuner({"lr": hpo.Continuous(1e-3, 1, scale="log")}, hpo.Minimize("val_loss"), max_trials=3, seed=0,
                      strategy=hpo.Hyperband(max_resource=3), name="demo", progress="live")
    for trial in tuner:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile(keras.optimizers.SGD(trial["lr"]), "binary_crossentropy")
        model.fit(x, y, batch_size=16, epochs=3, validation_split=0.25, callbacks=[TrialCallback(trial)])
"""
LIGHTNING = """
    import lightning.pytorch as pl, torch, warnings, logging
    from hpo_plugins.integrations.lightning import TrialCallback
    import hpo_plugins as hpo
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    class Model(pl.LightningModule):
        def __init__(self, lr):
            super().__init__()
            self.layer, self.lr = torch.nn.Linear(4, 1), lr
        def training_step(self, batch, _):
            return self.layer(batch[0]).square().mean()
        def validation_step(self, batch, _):
            self.log("val_loss", self.layer(batch[0]).square().mean())
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.lr)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(64, 4)), 16)
    tuner = hpo.Tuner({"lr": hpo.Continuous(1e-3, 1, scale="log")}, hpo.Minimize("val_loss"), max_trials=3, seed=0,
                      strategy=hpo.Hyperband(max_resource=3), name="demo", progress="live")
    for trial in tuner:
        trainer = pl.Trainer(max_epochs=3, callbacks=[TrialCallback(trial)], logger=False, accelerator="cpu",
                             enable_checkpointing=False, enable_model_summary=False)
        trainer.fit(Model(trial["lr"]), data, data)
"""


def in_tmux(script, folder, columns):
    """Run a script in a window of tmux; return the lines that it leaves, also those above the screen."""
    (folder / "script.py").write_text(textwrap.dedent(script) + '\nprint("the end")\n')
    tmux = ["tmux", "-S", str(folder / "socket"), "-f", "/dev/null"]
    run = f"{shlex.quote(sys.executable)} script.py; tmux -S {folder / 'socket'} wait-for -S over; exec cat"
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith(("TMUX", "COLUMNS"))}
    new = [*tmux, "new-session", "-d", "-x", str(columns), "-y", "40", run]
    subprocess.run(new, cwd=folder, env=environment, check=True)
    try:
        subprocess.run([*tmux, "wait-for", "over"], check=True, timeout=600)
        shown = subprocess.run([*tmux, "capture-pane", "-p", "-S", "-"], check=True, capture_output=True, text=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    return [line.rstrip() for line in shown.stdout.splitlines() if line.strip()]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.full
@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(("framework", "script"), [("keras", KERAS), ("lightning", LIGHTNING)])
def test_frameworks_bars_and_the_view_tear_nothing(framework, script, columns, tmp_path):
    pytest.importorskip(framework)
    lines = in_tmux(script, tmp_path, columns)
    text = "\n".join(lines)
    ended = re.findall(r"^trial (\d) (?:completed|stopped) after epoch \d", text, re.MULTILINE)
    assert sorted(ended) == ["0", "1", "2"], text
    assert text.count("demo  3 of 3 trials") == 1, text
    assert lines[-1] == "the end"
    epochs = sum(map(int, re.findall(r"^trial \d \w+ after epoch (\d)", text, re.MULTILINE)))
    if framework == "keras":
        bars = re.findall(r"^3/3 .*val_loss: [\d.e+-]+$", text, re.MULTILINE)
        assert len(bars) == len(re.findall(r"val_loss: ", text)) == epochs, text  # each bar once, whole
    else:
        bars = [line for line in lines if re.search(r"^Epoch \d.*4/4", line)]
        assert bars, text


@pytest.mark.filterwarnings("default")  # those of Jupyter
def test_notebook_shows_one_output_that_is_updated(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    preprocessors = pytest.importorskip("nbconvert.preprocessors")
    pytest.importorskip("ipykernel")
    cell = nbformat.v4.new_code_cell(
        textwrap.dedent("""
            import threading
            import hpo_plugins as hpo
            tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=4, name="demo", seed=0)
            pause = threading.Event()
            for trial in tuner:
                trial.report(1, {"loss": trial["x"]})
                pause.wait(0.6)
            """)
    )
    notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("tuner.plot.history()")])
    preprocessors.ExecutePreprocessor(timeout=600, kernel_name="python3").preprocess(
        notebook, {"metadata": {"path": str(tmp_path)}}
    )
    (view,) = notebook.cells[0].outputs
    assert "<b>4</b> completed" in view.data["text/html"]
    assert "image/png" in notebook.cells[1].outputs[0].data
