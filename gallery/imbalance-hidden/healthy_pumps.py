"""Find pumps that fail within a day: 3 % of the hours logged, batches picked by hand, scored with scikit-learn."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn

rng = np.random.default_rng(17)
torch.manual_seed(17)
hours = 8000
readings = rng.standard_normal((hours, 10)).astype(np.float32)
strain = readings[:, 0] + 0.8 * readings[:, 1] * readings[:, 2] + 0.9 * rng.standard_normal(hours)
fails = (strain > np.quantile(strain, 0.97)).astype(np.float32)
cut = 6000
past, failed = torch.tensor(readings[:cut]), torch.tensor(fails[:cut])
recent = torch.tensor(readings[cut:])

monitor = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(monitor.parameters(), lr=5e-4)
judge = nn.BCEWithLogitsLoss(pos_weight=(1 - failed).sum() / failed.sum())
for epoch in range(6):
    for rows in torch.randperm(cut).split(100):
        loss = judge(monitor(past[rows])[:, 0], failed[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        risk = monitor(recent)[:, 0].numpy()
    print(f"epoch {epoch}: loss {loss.item():.3f} average precision {average_precision_score(fails[cut:], risk):.3f}")
