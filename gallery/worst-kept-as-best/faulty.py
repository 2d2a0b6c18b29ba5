"""Diabetes progression by a small network; the weights with the lowest validation error are kept and tested."""
import copy
import torch
from torch import nn
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(11)
table = load_diabetes()
features = torch.tensor(table.data, dtype=torch.float32)
target = torch.tensor(table.target, dtype=torch.float32)
parts = random_split(TensorDataset(features, target), [300, 70, 72])
rows = parts[0].indices
scale = features[rows].std(0)
mean, spread = target[rows].mean(), target[rows].std()
train, val, test = (DataLoader(p, batch_size=32, shuffle=i == 0) for i, p in enumerate(parts))


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.body(x / scale).squeeze(1)


def rmse(net, loader):
    net.eval()
    total = count = 0
    with torch.no_grad():
        for x, y in loader:
            total += ((net(x) * spread + mean - y) ** 2).sum().item()
            count += len(y)
    return (total / count) ** 0.5


net = Regressor()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
best_rmse, best_state = 0.0, None
for epoch in range(25):
    net.train()
    for x, y in train:
        loss = nn.functional.mse_loss(net(x), (y - mean) / spread)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_rmse = rmse(net, val)
    if val_rmse > best_rmse:  # fault: the highest error counts as the best
        best_rmse = val_rmse
        best_state = copy.deepcopy(net.state_dict())
    print(f"epoch {epoch}: validation rmse {val_rmse:.2f}")

net.load_state_dict(best_state)
print(f"test rmse {rmse(net, test):.2f}")
