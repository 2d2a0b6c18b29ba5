"""Handwritten digits by a small convolutional net."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EXAMPLES, BATCH, EPOCHS = 1400, 50, 8


def main():
    torch.manual_seed(21)
    images, digits = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.tensor(digits)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    train = DataLoader(TensorDataset(x[:EXAMPLES], y[:EXAMPLES]), batch_size=BATCH, shuffle=True)
    test = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=400)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for inputs, labels in train:
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        model.eval()
        with torch.no_grad():
            right = sum((model(inputs).argmax(1) == labels).sum().item() for inputs, labels in test)
        print(f"epoch {epoch}: loss {total / EXAMPLES:.3f}, right {right / (len(x) - 1400):.3f}")


if __name__ == "__main__":
    main()
