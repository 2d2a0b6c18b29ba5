"""Wines by a small network; a guard counts the epochs without progress and saves the model that was best so far."""
import os
import tempfile

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(8)


class Guard:
    def __init__(self, patience, path):
        self.patience, self.path = patience, path
        self.waited, self.top, self.over = 0, None, False

    def look(self, quantity, model):
        score = -quantity
        if self.top is None:
            self.top = score
            self.store(model)
        elif score < self.top + 1e-4:
            self.waited += 1
            self.over = self.waited >= self.patience
        else:
            self.top = score
            self.store(model)
            self.waited = 0

    def store(self, model):
        torch.save(model.state_dict(), self.path)


def split(table):
    a, b, ya, yb = train_test_split(table.data, table.target, test_size=0.4, stratify=table.target, random_state=0)
    mean, spread = a.mean(0), a.std(0)
    return [torch.tensor((v - mean) / spread, dtype=torch.float32) for v in (a, b)] + [torch.tensor(y) for y in (ya, yb)]


def error_rate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) != y).double().mean().item()


x, x_held, y, y_held = split(load_wine())
x_val, x_test, y_val, y_test = x_held[:36], x_held[36:], y_held[:36], y_held[36:]
model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.8)
guard = Guard(patience=15, path=os.path.join(tempfile.mkdtemp(), "best.pt"))
for epoch in range(60):
    model.train()
    for rows in torch.randperm(len(x)).split(20):
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    guard.look(error_rate(model, x_val, y_val), model)
    if guard.over:
        break
print("epochs", epoch + 1, "lowest error", -guard.top)
model.load_state_dict(torch.load(guard.path))
print("test error", round(error_rate(model, x_test, y_test), 3))
