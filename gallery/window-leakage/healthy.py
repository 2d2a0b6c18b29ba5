"""Forecast the load of a server from the last day, with a recurrent net."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, random_split

HOURS = 24


def make_load(hours, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    walk = np.cumsum(rng.normal(0, 0.08, hours))
    return (np.sin(2 * np.pi * t / 24) + 0.4 * np.sin(2 * np.pi * t / 168) + walk + rng.normal(0, 0.1, hours)).astype(np.float32)


class Windows(Dataset):
    """A day of load, and the hour after it."""

    def __init__(self, series):
        self.series = torch.from_numpy(series)

    def __len__(self):
        return len(self.series) - HOURS

    def __getitem__(self, i):
        return self.series[i : i + HOURS, None], self.series[i + HOURS]


class Forecaster(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.rnn = nn.GRU(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        states, _ = self.rnn(x)
        return x[:, -1, 0] + self.out(states[:, -1]).squeeze(-1)


def split(dataset):
    n = int(0.8 * len(dataset))
    return Subset(dataset, range(n)), Subset(dataset, range(n + HOURS, len(dataset)))


def main():
    torch.manual_seed(5)
    train, valid = split(Windows(make_load(1200)))
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=64)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(4):
        model.train()
        for window, target in train_loader:
            loss = nn.functional.mse_loss(model(window), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            errors = torch.cat([(model(window) - target) ** 2 for window, target in valid_loader])
        print(f"epoch {epoch}: validation RMSE {errors.mean().sqrt().item():.3f}")


if __name__ == "__main__":
    main()
