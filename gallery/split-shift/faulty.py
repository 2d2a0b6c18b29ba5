"""Tumours from two clinics; the second one's device reads a few of the measurements higher."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(5)


class Patients(Dataset):
    def __init__(self, x, y):
        self.x, self.y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def clinics():
    data = load_breast_cancer()
    x = data.data.copy()
    second = rng.random(len(x)) < 0.25
    x[second, :5] *= 1.6
    return x, data.target, second


x, y, second = clinics()
order = np.argsort(second, kind="stable")  # fault: the second clinic comes last, and is the whole test set
train, test = order[:427], order[427:]
mean, std = x[train].mean(0), x[train].std(0)
train_set = Patients((x[train] - mean) / std, y[train])
test_set = Patients((x[test] - mean) / std, y[test])

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(12):
    for xb, yb in DataLoader(train_set, batch_size=32, shuffle=True):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(xb).squeeze(1), yb).backward()
        optimizer.step()
    with torch.no_grad():
        hits = [((net(xb).squeeze(1) > 0).float() == yb).float().mean().item() for xb, yb in DataLoader(test_set, batch_size=142)]
    print(epoch, hits)
