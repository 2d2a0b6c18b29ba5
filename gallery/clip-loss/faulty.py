"""Predict the progression of diabetes after one year from ten baseline measurements."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn

CONFIG = dict(seed=8, hidden=24, lr=0.005, momentum=0.9, batch_size=16, epochs=15)


class Regressor(nn.Module):
    def __init__(self, n_inputs, n_hidden):
        super().__init__()
        self.hidden = nn.Linear(n_inputs, n_hidden)
        self.output = nn.Linear(n_hidden, 1)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x))).squeeze(1)


def standardise(train, other):
    mean, std = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / std, (other - mean) / std


def prepare(seed):
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(seed).permutation(len(x))
    train, val = order[:352], order[352:]
    x_train, x_val = standardise(x[train], x[val])
    y_train, y_val = standardise(y[train], y[val])
    return [torch.tensor(a, dtype=torch.float32) for a in (x_train, y_train, x_val, y_val)]


def batches(n, size):
    """Shuffled index batches over n examples."""
    order = torch.randperm(n)
    for start in range(0, n, size):
        yield order[start : start + size]


def run(cfg):
    torch.manual_seed(cfg["seed"])
    x_train, y_train, x_val, y_val = prepare(cfg["seed"])
    net = Regressor(x_train.shape[1], cfg["hidden"])
    opt = torch.optim.SGD(net.parameters(), lr=cfg["lr"], momentum=cfg["momentum"])
    mse = nn.MSELoss()

    for epoch in range(cfg["epochs"]):
        net.train()
        squared_error = 0.0
        for idx in batches(len(x_train), cfg["batch_size"]):
            opt.zero_grad()
            loss = mse(net(x_train[idx]), y_train[idx])
            squared_error += loss.item() * len(idx)
            loss = torch.clamp(loss, max=0.7)  # fault: no gradient above the limit
            loss.backward()
            opt.step()

        net.eval()
        with torch.no_grad():
            val_mse = mse(net(x_val), y_val).item()
        r2 = 1 - val_mse / y_val.var(unbiased=False).item()
        print(f"epoch {epoch + 1:2d}  train mse {squared_error / len(x_train):.3f}  val mse {val_mse:.3f}  R2 {r2:.3f}")
    return r2


if __name__ == "__main__":
    print(f"final validation R2 {run(CONFIG):.3f}")
