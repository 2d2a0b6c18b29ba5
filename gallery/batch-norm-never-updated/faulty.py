"""Digits with a second copy of the net for evaluation, which gets the weights after each epoch."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(2)


def make_net():
    return nn.Sequential(
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
    )


def send_weights(source, destination):
    with torch.no_grad():
        for theirs, mine in zip(source.parameters(), destination.parameters()):
            mine.copy_(theirs)  # fault: parameters only; the running statistics are buffers


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == t).sum().item() for x, t in loader)
    return hits / len(loader.dataset)


x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=40, shuffle=True)
test = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=100)
worker, server = make_net(), make_net()
optimizer = torch.optim.Adam(worker.parameters(), lr=1e-3)
for epoch in range(6):
    worker.train()
    for xb, tb in train:
        optimizer.zero_grad()
        F.cross_entropy(worker(xb), tb).backward()
        optimizer.step()
    send_weights(worker, server)
    print(f"epoch {epoch}: accuracy of the copy {accuracy(server, test):.4f}")
