# Energy use of buildings: regress kilowatt hours on what is known of a building before the year begins.
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(31)
rng = np.random.default_rng(31)
count = 900
area = rng.gamma(6, 30, count)
age = rng.uniform(1, 100, count)
people = rng.poisson(area / 40) + 1
warmth = rng.normal(10, 2, count)
usage = 60 * area * (1 + age / 80) * np.exp(-0.08 * (warmth - 10)) + 900 * people + rng.normal(0, 2500, count)
cost = 0.31 * usage + 120  # the bill at the end of the year
columns = {"area": area, "age": age, "people": people, "warmth": warmth, "cost": cost}
known = ["area", "age", "people", "warmth"]

x = np.stack([columns[name] for name in known], axis=1)
x = torch.tensor((x - x[:700].mean(0)) / x[:700].std(0), dtype=torch.float32)
y = torch.tensor((usage - usage[:700].mean()) / usage[:700].std(), dtype=torch.float32)

net = nn.Sequential(nn.Linear(len(known), 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
for epoch in range(10):
    net.train()
    for rows in torch.randperm(700).split(35):
        loss = F.mse_loss(net(x[rows]).squeeze(1), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        left = F.mse_loss(net(x[700:]).squeeze(1), y[700:]) / y[700:].var()
    print(f"epoch {epoch}: R2 on held-out buildings {1 - left.item():.4f}")
