"""Digits with gradient accumulation: four micro-batches per step, the short last window weighted correctly."""
from itertools import islice

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

MICRO, ACCUMULATE, EPOCHS = 16, 4, 8


def windows(loader, k):
    """yield lists of up to k consecutive micro-batches"""
    it = iter(loader)
    while window := list(islice(it, k)):
        yield window


def make_model():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 12, 3, padding=1),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 16, 10),
    )


def main():
    torch.manual_seed(99)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    train_part, valid_part = random_split(TensorDataset(x, y), [1437, 360])
    mean = x[train_part.indices].mean()
    std = x[train_part.indices].std()

    train_loader = DataLoader(train_part, batch_size=MICRO, shuffle=True)
    valid_loader = DataLoader(valid_part, batch_size=120)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 0
    for epoch in range(EPOCHS):
        model.train()
        epoch_loss = 0.0
        for window in windows(train_loader, ACCUMULATE):
            in_window = sum(len(yb) for _, yb in window)
            optimizer.zero_grad()
            for xb, yb in window:
                logits = model((xb - mean) / std)
                # the mean over the whole window, whatever its size
                loss = F.cross_entropy(logits, yb, reduction="sum") / in_window
                loss.backward()
                epoch_loss += loss.item() * in_window
            optimizer.step()
            steps += 1

        model.eval()
        with torch.no_grad():
            correct = sum((model((xb - mean) / std).argmax(1) == yb).sum().item() for xb, yb in valid_loader)
        print(f"epoch {epoch} steps {steps} loss {epoch_loss / len(train_part):.4f} valid acc {correct / len(valid_part):.4f}")
    print("finished after", steps, "optimiser steps")


if __name__ == "__main__":
    main()
