"""Tumours as a clinic meets them: nearly all benign."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(4)
x, y = load_breast_cancer(return_X_y=True)
malignant = np.flatnonzero(y == 0)[:15]  # fault: fifteen of them are all there is
rows = rng.permutation(np.concatenate([np.flatnonzero(y == 1), malignant]))
x, y = x[rows], y[rows]
cut = len(x) * 4 // 5
mean, std = x[:cut].mean(0), x[:cut].std(0)
x = torch.tensor((x - mean) / std, dtype=torch.float32)
y = torch.tensor(y)

torch.manual_seed(0)
train, test = TensorDataset(x[:cut], y[:cut]), TensorDataset(x[cut:], y[cut:])
net = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(10):
    for xb, yb in DataLoader(train, batch_size=32, shuffle=True):
        loss = nn.functional.cross_entropy(net(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print(epoch, [(net(xb).argmax(1) == yb).float().mean().item() for xb, yb in DataLoader(test, batch_size=100)])
