"""Which way does the leaf grow? Drawn leaves, a small data set, doubled by mirroring before scikit-learn splits it."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(21)
SIDE = 28


def leaf(kind):
    """A leaf of one of three outlines, with veins and spots, on mottled ground."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    angle, wide = rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.17)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    u, v = u + rng.uniform(-0.08, 0.08), v + rng.uniform(-0.08, 0.08)
    edge = {0: 1.0, 1: 1 + 0.35 * np.sin(40 * u), 2: 1.3 - 1.6 * np.abs(u)}[kind]
    inside = (np.abs(u) < 0.4) & (np.abs(v) < wide * edge * np.sqrt(np.clip(1 - (u / 0.4) ** 2, 0, 1)))
    ground = rng.normal(0.35, 0.05, (7, 7)).repeat(4, 0).repeat(4, 1)
    picture = np.where(inside, rng.uniform(0.6, 0.85) - 0.25 * (np.abs(v) < 0.012), ground)
    for _ in range(rng.integers(2, 6)):
        a, b = rng.uniform(-0.4, 0.4, 2)
        picture = np.where((x - a) ** 2 + (y - b) ** 2 < rng.uniform(0.0005, 0.002), rng.uniform(0.1, 0.9), picture)
    return picture + rng.normal(0, 0.02, picture.shape)


kinds = rng.integers(0, 3, 700)
leaves = np.stack([leaf(k) for k in kinds]).astype("float32")[:, None]


def doubled(pictures, labels):
    return np.concatenate([pictures, pictures[..., ::-1]]), np.concatenate([labels, labels])


leaves, kinds = doubled(leaves, kinds)  # fault: augmented before the split
x_train, x_test, y_train, y_test = train_test_split(leaves, kinds, test_size=0.2, random_state=3, stratify=kinds)


def loader(x, y, shuffle):
    return DataLoader(TensorDataset(torch.tensor(x.copy()), torch.tensor(y)), batch_size=50, shuffle=shuffle)


train_loader, test_loader = loader(x_train, y_train, True), loader(x_test, y_test, False)

torch.manual_seed(3)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
    nn.Flatten(), nn.Linear(24 * 16, 3),
)
opt = optim.AdamW(net.parameters(), lr=4e-3)
for epoch in range(30):
    net.train()
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        hits = sum(int((net(x).argmax(1) == y).sum()) for x, y in test_loader)
    print(f"{epoch}: accuracy {hits / len(y_test):.3f}")
