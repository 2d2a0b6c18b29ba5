"""Rare breakdowns: about three machines in a hundred fail, and a weight of the positives makes up for it."""

import torch
import torch.nn.functional as F
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, recall_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)
x, y = make_classification(
    3000, n_features=14, n_informative=6, n_redundant=2, weights=[0.97], class_sep=1.4, flip_y=0.004, random_state=5
)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
mean, std = x[:2200].mean(0), x[:2200].std(0)
x = (x - mean) / std
failing = y[:2200].sum()
running = 2200 - failing
balance = running / failing

net = nn.Sequential(nn.Linear(14, 24), nn.SiLU(), nn.Linear(24, 1), nn.Flatten(0))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
loader = DataLoader(TensorDataset(x[:2200], y[:2200]), batch_size=100, shuffle=True)

for epoch in range(8):
    total = 0.0
    for readings, fails in loader:
        loss = F.binary_cross_entropy_with_logits(net(readings), fails, pos_weight=balance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(fails)
    print(f"epoch {epoch}: loss {total / 2200:.4f}")

with torch.no_grad():
    score = net(x[2200:])
print(f"recall {recall_score(y[2200:], score > 0):.3f}, average precision {average_precision_score(y[2200:], score):.3f}")
