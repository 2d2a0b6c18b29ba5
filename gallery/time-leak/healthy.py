"""Load of a power grid: is the next hour a peak? From eight sensors, hour by hour."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

rng = np.random.default_rng(2)
HOURS = 3000


def sensors():
    """Eight readings that wander slowly, and whether the grid is under strain."""
    steps = rng.normal(0, 1, (HOURS, 8))
    readings = np.zeros((HOURS, 8))
    for t in range(1, HOURS):
        readings[t] = 0.98 * readings[t - 1] + 0.2 * steps[t]
    strain = readings @ rng.normal(0, 1, 8) + 0.5 * rng.normal(0, 1, HOURS)
    return readings, (strain > 0).astype(np.int64)


readings, peak = sensors()
data = TensorDataset(torch.tensor(readings, dtype=torch.float32), torch.tensor(peak))
order = np.arange(HOURS)
train, val = Subset(data, order[:2400].tolist()), Subset(data, order[2400:].tolist())
train_loader, val_loader = DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=200)

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(5):
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        right = sum((net(x).argmax(1) == y).sum().item() for x, y in val_loader)
    print(epoch, right / len(val))
