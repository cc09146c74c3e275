"""Tune a network that trains with mixed precision (bfloat16), in a loop of PyTorch.

The strategy pauses training runs, and resumes the promising ones with the state of their optimizer.

pip install hpo-plugins torch scikit-learn
"""

import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import hpo_plugins as hpo

EPOCHS = 9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def network(width: int, dropout: float) -> torch.nn.Module:
    """Return a network of two layers."""
    return torch.nn.Sequential(
        torch.nn.Linear(64, width),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(width, 10),
    )


def main() -> None:
    """Run 12 trials."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.float32, device=DEVICE)
    y = torch.tensor(labels, device=DEVICE)
    tuner = hpo.Tuner(
        {
            "width": hpo.Integer(16, 128, step=16),
            "dropout": hpo.Continuous(0.0, 0.5),
            "lr": hpo.Continuous(1e-4, 1e-1, scale="log"),
            "weight_decay": hpo.Continuous(1e-4, 1e-1, scale="log"),
        },
        hpo.Minimize("val_loss"),
        strategy=hpo.Hyperband(max_resource=EPOCHS, pause=True),
        points_to_evaluate=[{"width": 32, "dropout": 0.0, "lr": 1e-3, "weight_decay": 1e-2}],
        max_trials=12,
        seed=0,
    )
    for trial in tuner:
        torch.manual_seed(0)
        model = network(trial["width"], trial["dropout"]).to(DEVICE)
        optimizer = torch.optim.AdamW(model.parameters(), lr=trial["lr"], weight_decay=trial["weight_decay"])
        if trial.resume_from:
            saved = torch.load(trial.resume_from)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            torch.set_rng_state(saved["random"])
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            model.train()
            for batch in torch.randperm(1200).split(64):
                with torch.autocast(DEVICE, dtype=torch.bfloat16):
                    loss = functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad(), torch.autocast(DEVICE, dtype=torch.bfloat16):
                scores = model(x[1200:]).float()
            metrics = {
                "val_loss": functional.cross_entropy(scores, y[1200:]).item(),
                "val_accuracy": (scores.argmax(1) == y[1200:]).float().mean().item(),
            }
            stop = trial.report(epoch, metrics)
            if trial.save_is_due:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "random": torch.get_rng_state(),
                }
                trial.save(lambda path, state=state: torch.save(state, path), suffix=".pt")
            if stop:
                break
    print(tuner.summary())


if __name__ == "__main__":
    main()
