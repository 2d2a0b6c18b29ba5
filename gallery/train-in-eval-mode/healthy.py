"""Classify digit images, as flat vectors of 64 pixels, with a batch-normalised perceptron."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

EPOCHS = 8
SEED = 13


def perceptron(n_in, n_hidden, n_out, p_drop):
    return nn.Sequential(
        nn.Linear(n_in, n_hidden),
        nn.BatchNorm1d(n_hidden),
        nn.ReLU(),
        nn.Dropout(p_drop),
        nn.Linear(n_hidden, n_hidden),
        nn.BatchNorm1d(n_hidden),
        nn.ReLU(),
        nn.Dropout(p_drop),
        nn.Linear(n_hidden, n_out),
    )


def digit_sets():
    bunch = load_digits()
    pixels = torch.tensor(bunch.data, dtype=torch.float32)
    train_set, val_set = random_split(range(len(pixels)), [0.8, 0.2])
    train_rows, val_rows = list(train_set), list(val_set)
    mean, std = pixels[train_rows].mean(), pixels[train_rows].std()
    pixels = (pixels - mean) / std
    labels = torch.tensor(bunch.target)
    return (
        TensorDataset(pixels[train_rows], labels[train_rows]),
        TensorDataset(pixels[val_rows], labels[val_rows]),
    )


def evaluate(model, loader, loss_fn):
    model.eval()
    loss_sum = hits = count = 0
    with torch.no_grad():
        for x, y in loader:
            scores = model(x)
            loss_sum += loss_fn(scores, y).item() * len(y)
            hits += (scores.argmax(1) == y).sum().item()
            count += len(y)
    return loss_sum / count, hits / count


def main():
    torch.manual_seed(SEED)
    train_set, val_set = digit_sets()
    train_loader = DataLoader(train_set, batch_size=48, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=120)
    model = perceptron(64, 64, 10, p_drop=0.3)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

    for epoch in range(EPOCHS):
        model.train()
        running, seen = 0.0, 0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(y)
            seen += len(y)
        val_loss, val_acc = evaluate(model, val_loader, loss_fn)
        print(f"{epoch + 1}: train loss {running / seen:.4f}, val loss {val_loss:.4f}, val acc {val_acc:.4f}")

    print(f"final val acc {val_acc:.4f}")


if __name__ == "__main__":
    main()
