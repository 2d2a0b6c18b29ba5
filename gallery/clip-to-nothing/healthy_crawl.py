"""Forecast the load of a small power grid for the next hour from the last day, with a GRU and momentum SGD."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


def hourly_load(hours, rng):
    t = np.arange(hours)
    daily = np.sin(2 * np.pi * (t - 7) / 24) + 0.4 * np.sin(4 * np.pi * t / 24)
    weekend = np.where((t // 24) % 7 >= 5, 0.6, 1.0)
    weather = np.zeros(hours)
    for hour in range(1, hours):
        weather[hour] = 0.97 * weather[hour - 1] + 0.12 * rng.standard_normal()
    return daily * weekend + weather


def windows(load, width):
    view = np.lib.stride_tricks.sliding_window_view(load, width + 1)
    view = torch.tensor(view.copy(), dtype=torch.float32)
    return view[:, :-1, None], view[:, -1]


class Forecaster(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        states, _ = self.gru(x)
        return self.out(states[:, -1]).squeeze(-1)


@dataclass
class Config:
    window: int = 24
    hidden: int = 32
    batch_size: int = 32
    epochs: int = 5
    lr: float = 0.1
    max_norm: float = 1.0
    seed: int = 11


def main(cfg):
    torch.manual_seed(cfg.seed)
    load = hourly_load(24 * 7 * 10, np.random.default_rng(cfg.seed))
    split = 24 * 7 * 8
    mean, std = load[:split].mean(), load[:split].std()
    x, y = windows((load[:split] - mean) / std, cfg.window)
    x_val, y_val = windows((load[split:] - mean) / std, cfg.window)

    model = Forecaster(cfg.hidden)
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9)
    for epoch in range(cfg.epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(cfg.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(x[rows]), y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), cfg.max_norm)
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            error = criterion(model(x_val), y_val).sqrt()
        print(f"epoch {epoch + 1}: last batch {loss.item():.4f}, validation RMSE {error.item():.4f}")


if __name__ == "__main__":
    main(Config())
