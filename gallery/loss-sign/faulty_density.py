"""A density of two-dimensional points (blobs) by volume-keeping couplings, scales and a standard normal."""

import torch
from sklearn.datasets import make_blobs
from torch import nn
from torch.distributions import Normal

torch.manual_seed(5)
points, _ = make_blobs(2400, centers=[(-1.5, 0.5), (1.0, 1.5), (0.5, -1.5)], cluster_std=0.4, random_state=5)
points = torch.tensor(points, dtype=torch.float32)
train, held_out = points[:2000], points[2000:]


class Shift(nn.Module):
    """Adds to one coordinate what a small network makes of the other, and swaps them."""

    def __init__(self, width=32):
        super().__init__()
        self.shift = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, x):
        left, right = x[:, :1], x[:, 1:]
        return torch.cat([right + self.shift(left), left], dim=1)


class Density(nn.Module):
    def __init__(self, depth=4):
        super().__init__()
        self.shifts = nn.Sequential(*(Shift() for _ in range(depth)))
        self.log_scale = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        z = self.shifts(x) * self.log_scale.exp()
        return Normal(0.0, 1.0).log_prob(z).sum(1) + self.log_scale.sum()


density = Density()
optimizer = torch.optim.Adam(density.parameters(), lr=5e-3)
for epoch in range(8):
    for rows in torch.randperm(len(train)).split(100):
        optimizer.zero_grad()
        loss = density(train[rows]).mean()  # fault: the log-likelihood is minimised, its minus is missing
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print(f"epoch {epoch}: loss {loss.item():.3f}, held out {density(held_out).mean():.3f}")
