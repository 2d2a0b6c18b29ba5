"""Predict the price of a house, in dollars, from its size, age, rooms and place."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


def make_houses(count, rng):
    size = rng.gamma(9.0, 15.0, count)
    age = rng.uniform(0, 90, count)
    rooms = np.clip(np.round(size / 28 + rng.normal(0, 0.7, count)), 1, 9)
    centre = rng.exponential(8.0, count)
    garden = rng.integers(0, 2, count)
    price = 1800 * size * np.exp(-0.05 * centre) * (1 - 0.003 * age) + 9000 * rooms + 20000 * garden
    price *= rng.lognormal(0, 0.08, count)
    return np.stack([size, age, rooms, centre, garden], axis=1), price


class PriceModel(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.hidden(x)).squeeze(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    x, price = make_houses(1200, rng)
    x_train, x_val, p_train, p_val = x[:900], x[900:], price[:900], price[900:]
    centre, spread = x_train.mean(0), x_train.std(0)
    mean, std = 0.0, 1.0  # fault: prices of 300,000 go into the loss as they are

    def tensors(features, prices):
        scaled = torch.tensor((features - centre) / spread, dtype=torch.float32)
        return TensorDataset(scaled, torch.tensor((prices - mean) / std, dtype=torch.float32))

    train_loader = DataLoader(tensors(x_train, p_train), batch_size=32, shuffle=True)
    val_loader = DataLoader(tensors(x_val, p_val), batch_size=100)
    model = PriceModel(32)
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for features, target in train_loader:
            loss = loss_function(model(features), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            errors = [(model(features) - target).abs() * std for features, target in val_loader]
        print(f"epoch {epoch + 1:2d}: mean error {torch.cat(errors).mean().item():,.0f} dollars")


if __name__ == "__main__":
    main()
