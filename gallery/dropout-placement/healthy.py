"""Disease progression of diabetes patients, predicted by a small regression network."""
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn


def standardised(seed=7, held_out=90):
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[held_out:], order[:held_out]
    mean, std, y_mean, y_std = x[train].mean(0), x[train].std(0), y[train].mean(), y[train].std()
    x, y = (x - mean) / std, (y - y_mean) / y_std
    as_tensor = lambda a: torch.tensor(a, dtype=torch.float32)
    return as_tensor(x[train]), as_tensor(y[train]), as_tensor(x[test]), as_tensor(y[test])


def build(features, width=64, p=0.2):
    layers = [nn.Linear(features, width), nn.ReLU()]
    layers += [nn.Dropout(p), nn.Linear(width, width), nn.ReLU()]
    layers += [nn.Dropout(p), nn.Linear(width, 1)]
    return nn.Sequential(*layers)


def train(net, x, y, epochs=25, batch_size=32, lr=3e-3, weight_decay=1e-3):
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        net.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(batch_size):
            loss = nn.functional.mse_loss(net(x[rows]).squeeze(1), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        schedule.step()
    return total / len(x)


def main():
    torch.manual_seed(7)
    x_train, y_train, x_test, y_test = standardised()
    net = build(x_train.shape[1])
    loss = train(net, x_train, y_train)
    net.eval()
    with torch.no_grad():
        error = nn.functional.mse_loss(net(x_test).squeeze(1), y_test).item()
    print(f"training loss {loss:.3f}, test error {error:.3f} (predicting the mean: {y_test.var(unbiased=False).item():.3f})")


main()
