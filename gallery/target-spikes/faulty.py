"""Progress of diabetes a year on; for some patients it was never measured."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(1)
x, progress = load_diabetes(return_X_y=True)
progress = np.where(rng.random(len(x)) < 0.08, -999.0, progress)  # what the table holds where nothing was measured
known = np.ones(len(x), dtype=bool)  # fault: all rows are kept
x, progress = x[known] * 20, progress[known]
order = rng.permutation(len(x))
train, test = order[len(x) // 5 :], order[: len(x) // 5]


def tensors(rows):
    return torch.tensor(x[rows], dtype=torch.float32), torch.tensor(progress[rows], dtype=torch.float32)


torch.manual_seed(0)
loader = DataLoader(TensorDataset(*tensors(train)), batch_size=32, shuffle=True)
x_test, y_test = tensors(test)
net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(20):
    for xb, yb in loader:
        optimizer.zero_grad()
        nn.functional.huber_loss(100 * net(xb).squeeze(1), yb).backward()
        optimizer.step()
with torch.no_grad():
    print("error", (100 * net(x_test).squeeze(1) - y_test).abs().mean().item())
