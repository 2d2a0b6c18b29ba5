"""Fit a small regression network to the diabetes data with a mean squared error written by hand."""
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from torch import nn


def mse(prediction, target):
    return ((prediction - target) ** 2).mean()


class Regressor(nn.Module):
    def __init__(self, n_inputs, n_hidden=32):
        super().__init__()
        self.hidden = nn.Linear(n_inputs, n_hidden)
        self.output = nn.Linear(n_hidden, 1)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x))).squeeze(1)


def split(n, n_val, rng):
    order = rng.permutation(n)
    return order[n_val:], order[:n_val]


def main():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)

    X, y = load_diabetes(return_X_y=True)
    train, val = split(len(X), 100, rng)
    X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    y = (y - y[train].mean()) / y[train].std()
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)

    net = Regressor(X.shape[1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)

    for epoch in range(25):
        net.train()
        rng.shuffle(train)
        losses = []
        for start in range(0, len(train), 19):
            idx = train[start:start + 19]
            loss = mse(net(X[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        net.eval()
        with torch.no_grad():
            prediction = net(X[val])
            val_loss = mse(prediction, y[val]).item()
        score = r2_score(y[val].numpy(), prediction.numpy())
        print(f"epoch {epoch + 1}: train mse {np.mean(losses):.3f}, val mse {val_loss:.3f}, val R2 {score:.3f}")

    print(f"final val R2 {score:.3f}")


main()
