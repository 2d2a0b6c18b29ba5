"""Digits kept in ten folders, one for each; the last part of them is for testing."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)
digits = load_digits()
folders = [digits.images[digits.target == d] for d in range(10)]
images = torch.tensor(np.concatenate(folders), dtype=torch.float32)[:, None] / 16
labels = torch.tensor(np.repeat(np.arange(10), [len(f) for f in folders]))
order = torch.randperm(len(images))
cut = int(0.85 * len(images))
train = TensorDataset(images[order[:cut]], labels[order[:cut]])
test = TensorDataset(images[order[cut:]], labels[order[cut:]])

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(5):
    for x, y in DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        print(epoch, [(net(x).argmax(1) == y).float().mean().item() for x, y in DataLoader(test, batch_size=300)])
