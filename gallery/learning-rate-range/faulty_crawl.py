import json
import random

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CONFIG = json.loads("""
{
  "seed": 42,
  "data":  {"valid_fraction": 0.25, "batch_size": 32},
  "model": {"hidden": [32, 16], "dropout": 0.1},
  "optim": {"lr": 1e-6, "epochs": 30}
}
""")


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def prepare(seed, valid_fraction, batch_size):
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(
        x, y, test_size=valid_fraction, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(x_train)
    as_set = lambda a, b: TensorDataset(
        torch.tensor(scaler.transform(a), dtype=torch.float32), torch.tensor(b, dtype=torch.float32))
    return (DataLoader(as_set(x_train, y_train), batch_size=batch_size, shuffle=True),
            DataLoader(as_set(x_valid, y_valid), batch_size=batch_size))


def make_model(n_in, hidden, dropout):
    layers, width = [], n_in
    for h in hidden:
        layers += [nn.Linear(width, h), nn.ReLU(), nn.Dropout(dropout)]
        width = h
    return nn.Sequential(*layers, nn.Linear(width, 1))


def main():
    seed_everything(CONFIG["seed"])
    train_loader, valid_loader = prepare(CONFIG["seed"], **CONFIG["data"])
    model = make_model(30, **CONFIG["model"])
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG["optim"]["lr"])  # fault: a rate of 1e-6 in a run of 420 steps

    for epoch in range(1, CONFIG["optim"]["epochs"] + 1):
        model.train()
        train_loss, n_train = 0.0, 0
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb).squeeze(1), yb)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(yb)
            n_train += len(yb)

        model.eval()
        scores, labels = [], []
        with torch.no_grad():
            for xb, yb in valid_loader:
                scores.append(model(xb).squeeze(1))
                labels.append(yb)
        scores, labels = torch.cat(scores), torch.cat(labels)
        valid_loss = criterion(scores, labels).item()
        acc = ((scores > 0).float() == labels).float().mean().item()
        auc = roc_auc_score(labels.numpy(), scores.numpy())
        if epoch % 2 == 0:
            print(f"epoch {epoch:03d}  train_loss {train_loss / n_train:.4f}  valid_loss {valid_loss:.4f}  "
                  f"acc {acc:.4f}  auc {auc:.4f}")


if __name__ == "__main__":
    main()
