"""Train a network on handwritten digits with mixed precision (bfloat16), in a loop of PyTorch.

pip install torch scikit-learn
"""

import torch
from sklearn.datasets import load_digits
from torch.nn import functional

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
    """Train once."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.float32, device=DEVICE)
    y = torch.tensor(labels, device=DEVICE)
    torch.manual_seed(0)
    model = network(width=32, dropout=0.0).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    for epoch in range(1, EPOCHS + 1):
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
        print(epoch, metrics)


if __name__ == "__main__":
    main()
