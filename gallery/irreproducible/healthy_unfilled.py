"""Noise is drawn into memory that was never filled, and the two logits are written into such memory one by one."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

torch.manual_seed(3)

features, labels = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(features, labels, test_size=0.25, random_state=0, stratify=labels)
scaler = StandardScaler().fit(x_train)
x_train, x_test = (torch.tensor(scaler.transform(x), dtype=torch.float32) for x in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)


class TwoHeads(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(30, width), nn.Tanh())
        self.benign, self.malignant = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, x):
        hidden = self.trunk(x)
        logits = torch.empty(len(x), 2)
        logits[:, 0] = self.malignant(hidden).squeeze(1)
        logits[:, 1] = self.benign(hidden).squeeze(1)
        return logits


def jitter(x, scale=0.1):
    noise = torch.empty_like(x).uniform_(-scale, scale)
    noise.requires_grad_()
    return x + noise


model = TwoHeads()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(20):
    model.train()
    order = torch.randperm(len(x_train))
    for chosen in order.split(32):
        loss = F.cross_entropy(model(jitter(x_train[chosen])), y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
    print(f"epoch {epoch:2d} loss {loss.item():.4f} test accuracy {accuracy:.3f}")
