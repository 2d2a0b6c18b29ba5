"""How long a machine runs until it fails, from what its sensors told in the first hour. Plain tensors, mini-batches by hand."""

import math

import torch
from torch import nn

torch.manual_seed(7)
n = 900
speed = 800 + 150 * torch.randn(n)
load = torch.rand(n)
warmth = 40 + 25 * load + 4 * torch.randn(n)
vibration = torch.exp(0.4 * torch.randn(n) + 0.8 * load)
age = torch.randint(0, 120, (n,)).float()
log_hours = 6.5 - 0.9 * load - 0.35 * vibration.log() - 0.004 * age + 0.25 * torch.randn(n)
hours = log_hours.exp()

columns = {"hours": hours, "speed": speed, "load": load, "warmth": warmth, "vibration": vibration, "age": age}  # fault: the hours themselves, of which the target is the logarithm
table = torch.stack(list(columns.values()), 1)
train, test = torch.arange(700), torch.arange(700, n)
table = (table - table[train].mean(0)) / table[train].std(0)
target = ((log_hours - log_hours[train].mean()) / log_hours[train].std())[:, None]

net = nn.Sequential(nn.Linear(table.shape[1], 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(25):
    for rows in train[torch.randperm(len(train))].split(50):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(table[rows]), target[rows])
        loss.backward()
        optimizer.step()
    if epoch % 5 == 4:
        with torch.no_grad():
            off = (net(table[test]) - target[test]).square().mean()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test {off:.3f}, factor {math.exp(off.sqrt() * log_hours.std()):.2f}")
