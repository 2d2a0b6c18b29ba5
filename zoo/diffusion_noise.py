"""Denoising diffusion on two moons: the network predicts the noise that was added."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 50


def moons(n):
    t = math.pi * torch.rand(n)
    side = torch.randint(0, 2, (n,)) * 2 - 1
    xy = torch.stack([t.cos() - 0.5 * side, side * (t.sin() - 0.25)], 1) + 0.04 * torch.randn(n, 2)
    return (xy - xy.mean(0)) / xy.std(0)


class NoiseSchedule:
    def __init__(self, steps):
        self.beta = torch.linspace(1e-3, 0.18, steps)
        self.alpha = 1 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, 0)

    def add_noise(self, x0, noise, t):
        ab = self.alpha_bar[t].unsqueeze(1)
        return ab.sqrt() * x0 + (1 - ab).sqrt() * noise


class Denoiser(nn.Module):
    def __init__(self, width=96, n_freq=6):
        super().__init__()
        self.register_buffer("freq", 2.0 ** torch.arange(n_freq) * math.pi / 64)
        self.time = nn.Sequential(nn.Linear(2 * n_freq, width), nn.SiLU())
        self.inp = nn.Linear(6, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.Linear(width, 2)

    def forward(self, x, t):
        angle = t.unsqueeze(1).float() * self.freq
        h = self.inp(torch.cat([x, (2 * x).sin(), (2 * x).cos()], 1)) + self.time(torch.cat([angle.sin(), angle.cos()], 1))
        for layer in self.hidden:
            h = h + nn.functional.silu(layer(h))
        return self.out(h)


@torch.no_grad()
def sample(model, schedule, n):
    model.eval()
    x = torch.randn(n, 2)
    for step in reversed(range(STEPS)):
        eps = model(x, torch.full((n,), step))
        a, ab, b = schedule.alpha[step], schedule.alpha_bar[step], schedule.beta[step]
        x = (x - b / (1 - ab).sqrt() * eps) / a.sqrt()
        if step:
            x = x + b.sqrt() * torch.randn_like(x)
    model.train()
    return x


def off_curve(points, truth):
    """mean distance to the nearest true point"""
    return torch.cdist(points, truth).min(1).values.mean().item()


if __name__ == "__main__":
    torch.manual_seed(27)
    points = moons(4500)
    train, held_out = points[:4000], points[4000:]
    loader = DataLoader(TensorDataset(train), batch_size=128, shuffle=True)
    schedule = NoiseSchedule(STEPS)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    for epoch in range(14):
        running, count = 0.0, 0
        for (x0,) in loader:
            t = torch.randint(0, STEPS, (len(x0),))
            noise = torch.randn_like(x0)
            loss = nn.functional.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x0)
            count += len(x0)
        decay.step()
        print(f"epoch {epoch + 1:2d} noise mse {running / count:.4f}")
    print(f"distance to the moons: samples {off_curve(sample(model, schedule, 500), held_out):.4f}, "
          f"plain noise {off_curve(torch.randn(500, 2), held_out):.4f}, data {off_curve(train[:500], held_out):.4f}")
