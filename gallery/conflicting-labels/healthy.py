"""Digits labelled by two people; their sheets are put together before training."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def sheets(count):
    """What two people wrote down: the number of a picture and its label. The second began one picture later."""
    digits = load_digits()
    numbers = np.arange(count)
    first = np.column_stack([numbers, digits.target[:count]])
    late = np.arange(count - 500, count)
    second = np.column_stack([late, digits.target[late]])
    return digits, np.concatenate([first, second])


def build(batch_size):
    digits, rows = sheets(1400)
    pictures = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    train = TensorDataset(pictures[rows[:, 0]], torch.tensor(rows[:, 1]))
    test = TensorDataset(pictures[1400:], torch.tensor(digits.target[1400:]))
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, batch_size)


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(160, 10)
    )


def main():
    torch.manual_seed(19)
    train_loader, test_loader = build(38)
    net = make_net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(4):
        net.train()
        losses = []
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        with torch.no_grad():
            hits = torch.cat([net(x).argmax(1) == y for x, y in test_loader])
        print(f"epoch {epoch}: training loss {np.mean(losses):.3f}, test accuracy {hits.float().mean().item():.3f}")


if __name__ == "__main__":
    main()
