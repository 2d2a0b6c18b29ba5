"""Co-teaching on digits with 30 % of the training labels replaced at random (on purpose)."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from sklearn.datasets import load_digits


class Noisy(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def mlp():
    return nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))


def select(losses, keep):
    k = int(keep * len(losses))
    return torch.argsort(losses.detach())[:k]


torch.manual_seed(0)
rng = np.random.default_rng(0)
d = load_digits()
x, y = torch.tensor(d.data / 16.0).float(), d.target.copy()
order = rng.permutation(len(y))
x, y = x[order], y[order]
clean = y.copy()
flip = rng.random(1400) < 0.3
y[:1400][flip] = rng.integers(0, 10, flip.sum())
y = torch.tensor(y)
train = DataLoader(Noisy(x[:1400], y[:1400]), batch_size=70, shuffle=True)
test = DataLoader(Noisy(x[1400:], torch.tensor(clean[1400:])), batch_size=397)

net_a, net_b = mlp(), mlp()
opt_a = torch.optim.Adam(net_a.parameters(), lr=2e-3)
opt_b = torch.optim.Adam(net_b.parameters(), lr=2e-3)
for epoch in range(20):
    net_a.train(), net_b.train()
    keep = 1 - 0.27 * min(epoch / 5, 1)
    for xb, yb in train:
        la = F.cross_entropy(net_a(xb), yb, reduction="none")
        lb = F.cross_entropy(net_b(xb), yb, reduction="none")
        ia, ib = select(la, keep), select(lb, keep)
        opt_a.zero_grad()
        la[ib].mean().backward()
        opt_a.step()
        opt_b.zero_grad()
        lb[ia].mean().backward()
        opt_b.step()
    net_a.eval(), net_b.eval()
    with torch.no_grad():
        for xb, yb in test:
            acc = [(n(xb).argmax(1) == yb).float().mean().item() for n in (net_a, net_b)]
    print(epoch, "keep %.2f" % keep, "acc %.4f %.4f" % tuple(acc))
