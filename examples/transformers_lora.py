"""Tune LoRA on a small language model: it knows the docstrings of ``str``, and learns those of ``list``.

The script makes its own base model, which trains in seconds, and downloads nothing.

pip install 'hpo-plugins[transformers]' peft
"""

import tempfile

import transformers
from hpo_plugins.integrations.transformers import TrialCallback
from peft import LoraConfig, get_peft_model

import hpo_plugins as hpo

LENGTH = 64
EPOCHS = 9


def rows(kind: type) -> list[dict[str, list[int]]]:
    """Return the docstrings of a type in pieces of equal length; each character is a token."""
    text = "\n".join((getattr(kind, name).__doc__ or "") for name in dir(kind))
    starts = range(0, len(text) - LENGTH, LENGTH // 2)
    tokens = [[ord(character) % 128 for character in text[start : start + LENGTH]] for start in starts]
    return [{"input_ids": piece, "labels": piece} for piece in tokens]


def arguments(folder: str, **changes: object) -> transformers.TrainingArguments:
    """Return the arguments of a Trainer that is quiet."""
    return transformers.TrainingArguments(
        folder,
        save_strategy="no",
        label_names=["labels"],  # a PEFT model does not tell the Trainer
        per_device_train_batch_size=8,
        use_cpu=True,
        disable_tqdm=True,
        log_level="error",
        report_to=[],
        **changes,
    )


def make_base(folder: str) -> None:
    """Write a base model into a folder; yours comes from a hub."""
    transformers.set_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    model = transformers.LlamaForCausalLM(config)
    transformers.Trainer(
        model, arguments(folder, num_train_epochs=3, learning_rate=3e-3), train_dataset=rows(str)
    ).train()
    model.save_pretrained(folder)


def main() -> None:
    """Run 6 trials."""
    data = rows(list)
    train, valid = data[::2], data[1::4]
    tuner = hpo.Tuner(
        hpo.spaces.lora(),  # learning_rate, r, lora_alpha and lora_dropout, with beliefs about good values
        hpo.Minimize("eval_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS, pause=True),
        max_trials=6,
        seed=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        make_base(folder)
        for trial in tuner:
            transformers.set_seed(0)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder)
            params = dict(trial.params)
            rate = params.pop("learning_rate")
            adapter = LoraConfig(**params, target_modules=["q_proj", "v_proj"])
            trainer = transformers.Trainer(
                get_peft_model(model, adapter),
                arguments(folder, num_train_epochs=EPOCHS, eval_strategy="epoch", learning_rate=rate),
                train_dataset=train,
                eval_dataset=valid,
                callbacks=[TrialCallback(trial)],
            )
            trainer.train(resume_from_checkpoint=trial.resume_from)
    print(tuner.summary())


if __name__ == "__main__":
    main()
