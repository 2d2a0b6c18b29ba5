"""Recognise digits from their 64 pixel values with a perceptron of one wide hidden layer."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

rng = np.random.default_rng(14)
torch.manual_seed(14)


class MLP(nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.hidden = nn.Linear(n_in, n_hidden)
        self.act = nn.ReLU()
        self.output = nn.Linear(n_hidden, n_out)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.hidden.weight)
        nn.init.constant_(self.hidden.bias, -2.5)  # fault: most units never fire

    def forward(self, x):
        return self.output(self.act(self.hidden(x)))


def iterate(x, y, batch_size, shuffle):
    order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
    for rows in order.split(batch_size):
        yield x[rows], y[rows]


X, y = load_digits(return_X_y=True)
order = rng.permutation(len(X))
X, y = X[order], y[order]
n_train = int(0.8 * len(X))
mean, std = X[:n_train].mean(), X[:n_train].std()
X = torch.tensor((X - mean) / std, dtype=torch.float32)
y = torch.tensor(y)
X_train, y_train, X_val, y_val = X[:n_train], y[:n_train], X[n_train:], y[n_train:]

model = MLP(64, 128, 10)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(10):
    model.train()
    loss_sum = 0.0
    for xb, yb in iterate(X_train, y_train, batch_size=32, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(xb)

    model.eval()
    val_loss = val_hits = 0.0
    with torch.no_grad():
        for xb, yb in iterate(X_val, y_val, batch_size=90, shuffle=False):
            out = model(xb)
            val_loss += criterion(out, yb).item() * len(xb)
            val_hits += (out.argmax(dim=1) == yb).sum().item()
    print(
        "epoch {:2d}: train loss {:.4f}, val loss {:.4f}, val acc {:.4f}".format(
            epoch + 1, loss_sum / n_train, val_loss / len(X_val), val_hits / len(X_val)
        )
    )

print("final val acc {:.4f}".format(val_hits / len(X_val)))
