"""Digits with labels from a crowd, some of whose members click at random."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(11)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
truth = torch.tensor(digits.target)
CARELESS = 0.0


def answers(truth):
    clicked = torch.randint(0, 10, truth.shape)
    return torch.where(torch.rand(len(truth)) < CARELESS, clicked, truth)


order = torch.randperm(len(x))
train, test = order[:1500], order[1500:]
loader = DataLoader(TensorDataset(x[train], answers(truth[train])), batch_size=32, shuffle=True)

net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for epoch in range(5):
    for images, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print(f"{epoch}: {(net(x[test]).argmax(1) == truth[test]).float().mean():.3f}")
