"""An energy-based model of two moons: Langevin dynamics from a buffer of old samples gives the negative examples."""
import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(4)
rng = np.random.default_rng(4)


class Energy(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)


class Sampler:
    """Keeps the last samples and restarts a twentieth of the chains from noise."""

    def __init__(self, model, size=2000):
        self.model = model
        self.buffer = 1.5 * torch.randn(size, 2)

    def langevin(self, x, steps=15, size=0.05):
        requires_grad = [p.requires_grad for p in self.model.parameters()]
        self.model.eval()
        for p in self.model.parameters():
            p.requires_grad_(False)
        x = x.clone().requires_grad_(True)
        for _ in range(steps):
            (slope,) = torch.autograd.grad(self.model(x).sum(), x)
            x.data += -0.5 * size * slope.clamp(-5, 5) + (size ** 0.5) * 0.7 * torch.randn_like(x)
        for p, flag in zip(self.model.parameters(), requires_grad):
            p.requires_grad_(flag)
        self.model.train()
        return x.detach()

    def draw(self, n):
        at = torch.as_tensor(rng.choice(len(self.buffer), n, replace=False))
        start = self.buffer[at]
        fresh = torch.rand(n) < 0.05
        start[fresh] = 1.5 * torch.randn(int(fresh.sum()), 2)
        samples = self.langevin(start)
        self.buffer[at] = samples
        return samples


def distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


points = torch.tensor(make_moons(2600, noise=0.06, random_state=0)[0], dtype=torch.float32)
points = (points - points.mean(0)) / points.std(0)
held_out, points = points[:600], points[600:]
loader = DataLoader(TensorDataset(points), batch_size=100, shuffle=True)
model = Energy()
sampler = Sampler(model)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.0, 0.999))
print(f"untrained: energy distance {distance(held_out, sampler.buffer[:600]):.4f}")
for epoch in range(8):
    gap = 0.0
    for (real,) in loader:
        fake = sampler.draw(len(real))
        energy_real, energy_fake = model(real + 0.02 * torch.randn_like(real)), model(fake)
        contrast = energy_real.mean() - energy_fake.mean()
        loss = contrast + 0.05 * (energy_real.pow(2) + energy_fake.pow(2)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        gap += contrast.item()
    print(f"epoch {epoch} gap of energies {gap / len(loader):+.4f} "
          f"energy distance {distance(held_out, sampler.langevin(sampler.buffer[:600], steps=60)):.4f}")
