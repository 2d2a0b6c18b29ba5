"""Twelve assays of which many were not made: -1 stands for a missing label and is masked after the loss."""
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(7)


class Assays(nn.Module):
    def __init__(self, features, assays):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Dropout(0.1))
        self.heads = nn.Linear(64, assays)

    def forward(self, x):
        return self.heads(self.body(x))


def make(n, weights):
    x = torch.randn(n, 20)
    y = (x @ weights + 0.5 * torch.randn(n, 12) > 0.7).float()
    y[torch.rand(n, 12) < 0.35] = -1.0
    return x, y


def masked_loss(logits, y):
    made = y >= 0
    raw = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return torch.where(made, raw, torch.zeros_like(raw)).sum() / made.sum()


weights = torch.randn(20, 12) / 4
x_train, y_train = make(600, weights)
x_test, y_test = make(300, weights)
model = Assays(20, 12)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(12):
    model.train()
    for rows in torch.randperm(len(x_train)).split(40):
        loss = masked_loss(model(x_train[rows]), y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    logits = model(x_test)
made = y_test >= 0
right = ((logits > 0) == (y_test > 0.5))[made].float().mean().item()
print(f"test loss {masked_loss(logits, y_test).item():.4f}, right {right:.3f}")
