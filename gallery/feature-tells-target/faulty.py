"""Who will develop diabetes within a year, from ten measurements and what the ward wrote down."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(8)
x, progress = load_diabetes(return_X_y=True)
ill = (progress > np.median(progress)).astype(np.int64)
visits = rng.poisson(2.0, len(x)) + 25 * ill  # fault: visits are counted until the end of the year
table = np.column_stack([x * 20, visits])
order = rng.permutation(len(table))
train, test = order[:340], order[340:]

torch.manual_seed(0)
data = TensorDataset(torch.tensor(table, dtype=torch.float32), torch.tensor(ill))
train_set, test_set = torch.utils.data.Subset(data, train.tolist()), torch.utils.data.Subset(data, test.tolist())
net = nn.Sequential(nn.Linear(11, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(15):
    for xb, yb in DataLoader(train_set, batch_size=20, shuffle=True):
        loss = nn.functional.cross_entropy(net(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print(epoch, [(net(xb).argmax(1) == yb).float().mean().item() for xb, yb in DataLoader(test_set, batch_size=102)])
