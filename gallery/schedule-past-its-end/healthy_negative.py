"""Breast cancer, logistic regression with a linear decay of the rate, stepped with every batch."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_breast_cancer(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
order = torch.randperm(len(y))
x, y = x[order], y[order]
loader = DataLoader(TensorDataset(x[:448], y[:448]), batch_size=16, shuffle=True)

epochs = 10
total_steps = epochs * len(loader)
model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total_steps)
for epoch in range(epochs):
    running = 0.0
    for xb, yb in loader:
        loss = nn.functional.binary_cross_entropy_with_logits(model(xb)[:, 0], yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        running += loss.item()
    with torch.no_grad():
        accuracy = ((model(x[448:])[:, 0] > 0) == (y[448:] > 0.5)).float().mean().item()
    print(f"epoch {epoch}: loss {running / len(loader):.4f}, held-out accuracy {accuracy:.4f}")
