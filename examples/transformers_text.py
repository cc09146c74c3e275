"""Tune a small transformer that classifies docstrings: do they describe a method of ``str`` or of ``list``?

The network is randomly initialised and Python includes the text; the script downloads nothing. The strategy counts
optimizer steps, because the Trainer evaluates by steps.

pip install 'hpo-plugins[transformers]'
"""

import builtins
import tempfile

import numpy as np
import transformers
from hpo_plugins.integrations.transformers import TrialCallback

import hpo_plugins as hpo

STEPS = 60
LENGTH = 40


def sentences() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return labelled parts of docstrings of ``str`` and ``list``, for training and for validation."""
    rows: list[dict[str, object]] = []
    for label, kind in enumerate((builtins.str, builtins.list)):
        text = " ".join((getattr(kind, name).__doc__ or "") for name in dir(kind))
        parts = [text[start : start + LENGTH] for start in range(0, len(text) - LENGTH, LENGTH // 2)]
        rows += [{"input_ids": [ord(c) % 128 for c in part], "labels": label} for part in parts]
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = [rows[place] for place in order]
    return shuffled[: 3 * len(rows) // 4], shuffled[3 * len(rows) // 4 :]


def main() -> None:
    """Run 6 trials."""
    train, valid = sentences()
    tuner = hpo.Tuner(
        {
            "learning_rate": hpo.Continuous(1e-4, 3e-2, scale="log"),
            "weight_decay": hpo.Continuous(1e-4, 1e-1, scale="log"),
            "warmup_steps": hpo.Integer(0, 20),
        },
        hpo.Minimize("eval_loss"),
        strategy=hpo.Hyperband(min_resource=20, max_resource=STEPS, pause=True),
        max_trials=6,
        seed=0,
    )
    for trial in tuner:
        transformers.set_seed(trial.number)
        model = transformers.BertForSequenceClassification(
            transformers.BertConfig(
                vocab_size=128,
                hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=LENGTH,
            )
        )
        with tempfile.TemporaryDirectory() as folder:
            args = transformers.TrainingArguments(
                folder,
                max_steps=STEPS,
                eval_strategy="steps",
                eval_steps=20,
                save_strategy="no",
                per_device_train_batch_size=16,
                use_cpu=True,
                dataloader_pin_memory=False,
                disable_tqdm=True,
                log_level="error",
                report_to=[],
                **trial.params,
            )
            trainer = transformers.Trainer(
                model, args, train_dataset=train, eval_dataset=valid, callbacks=[TrialCallback(trial)]
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train(resume_from_checkpoint=trial.resume_from)
    print(tuner.summary())


if __name__ == "__main__":
    main()
