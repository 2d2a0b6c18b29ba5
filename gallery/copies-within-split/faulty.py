"""Wine from two exports of one cellar's table, a small net, and a held-out part."""

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(3)
x, y = load_wine(return_X_y=True)
order = rng.permutation(len(x))
test, train = order[:40], order[40:]


def exported(rows):
    """Both exports, one below the other: the second begins before the first one ends."""
    first, second = rows[:90], rows[60:]  # fault: thirty wines are in both
    return np.concatenate([first, second])


rows = exported(train)
mean, std = x[train].mean(0), x[train].std(0)
as_tensors = lambda r: (torch.tensor((x[r] - mean) / std, dtype=torch.float32), torch.tensor(y[r]))
loader = DataLoader(TensorDataset(*as_tensors(rows)), batch_size=16, shuffle=True)
x_test, y_test = as_tensors(test)

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(30):
    for xb, yb in loader:
        opt.zero_grad()
        nn.functional.cross_entropy(net(xb), yb).backward()
        opt.step()
with torch.no_grad():
    print("test accuracy", (net(x_test).argmax(1) == y_test).float().mean().item())
