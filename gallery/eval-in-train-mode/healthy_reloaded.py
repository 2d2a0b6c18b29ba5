"""Train a wine classifier, store it, and score incoming bottles one at a time with the stored file."""
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from torch.utils.data import DataLoader, TensorDataset

PARAMS = dict(seed=19, hidden=32, p=0.3, lr=3e-3, epochs=30, batch=16)


def load_sets(seed):
    d = load_wine()
    order = np.random.default_rng(seed).permutation(len(d.target))
    parts = {"train": order[:112], "valid": order[112:145], "incoming": order[145:]}
    mean, std = d.data[parts["train"]].mean(0), d.data[parts["train"]].std(0)
    return {
        name: (torch.tensor((d.data[i] - mean) / std, dtype=torch.float32), torch.tensor(d.target[i]))
        for name, i in parts.items()
    }


def network(hidden, p):
    return nn.Sequential(
        nn.Linear(13, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(hidden, 3),
    )


def train_one_epoch(model, loader, optimizer, criterion):
    model.train()
    total = n = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
        n += len(y)
    return total / n


def check(model, x, y, criterion):
    model.eval()
    with torch.no_grad():
        out = model(x)
    return criterion(out, y).item(), (out.argmax(1) == y).float().mean().item()


def score_bottles(path, x, y, chunk=11):
    model = torch.load(path, weights_only=False)
    right = 0
    confidence = []
    with torch.no_grad():
        for i in range(0, len(x), chunk):
            p = torch.softmax(model(x[i:i + chunk]), dim=1)
            right += (p.argmax(1) == y[i:i + chunk]).sum().item()
            confidence.append(p.amax(1))
    return right / len(x), torch.cat(confidence).mean().item()


def main(seed, hidden, p, lr, epochs, batch):
    torch.manual_seed(seed)
    sets = load_sets(seed)
    loader = DataLoader(TensorDataset(*sets["train"]), batch_size=batch, shuffle=True)
    model = network(hidden, p)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    path = os.path.join(tempfile.mkdtemp(), "wine.pt")

    for epoch in range(1, epochs + 1):
        val_loss, val_acc = check(model, *sets["valid"], criterion)
        train_loss = train_one_epoch(model, loader, optimizer, criterion)
        if epoch % 2 == 0:
            print(f"epoch {epoch:2d} train {train_loss:.4f} | before it: val {val_loss:.4f} acc {val_acc:.3f}")
    model.eval()
    torch.save(model, path)

    acc, conf = score_bottles(path, *sets["incoming"])
    print(f"incoming bottles: accuracy {acc:.3f}, mean confidence {conf:.3f}")
    os.remove(path)


if __name__ == "__main__":
    main(**PARAMS)
