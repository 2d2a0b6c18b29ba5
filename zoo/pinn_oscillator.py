"""A physics-informed network for the damped oscillator u'' + 2 d u' + w^2 u = 0, u(0) = 1, u'(0) = 0, on random points."""
import math

import torch
from torch import nn

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
D, W, T = 0.4, 3.0, 1.5


class PINN(nn.Module):
    def __init__(self, width=32, depth=3):
        super().__init__()
        sizes = [1] + [width] * depth
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])])
        self.out = nn.Linear(width, 1)
        for layer in [*self.hidden, self.out]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, t):
        h = 2 * t / T - 1
        for layer in self.hidden:
            h = torch.tanh(layer(h))
        return self.out(h)


def gradient(y, x):
    return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


def exact(t):
    f = math.sqrt(W * W - D * D)
    return torch.exp(-D * t) * (torch.cos(f * t) + D / f * torch.sin(f * t))


def residual(net, t):
    t = t.requires_grad_(True)
    u = net(t)
    du = gradient(u, t)
    ddu = gradient(du, t)
    return (ddu + 2 * D * du + W * W * u) / W


def initial_condition(net):
    t0 = torch.zeros(1, 1, requires_grad=True)
    u0 = net(t0)
    return (u0 - 1).pow(2).squeeze() + (gradient(u0, t0) / W).pow(2).squeeze()


net = PINN()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.994)
grid = torch.linspace(0, T, 200).unsqueeze(1)


def relative_error():
    with torch.no_grad():
        return ((net(grid) - exact(grid)).norm() / exact(grid).norm()).item()


print(f"untrained: relative error {relative_error():.3f}")
for it in range(500):
    optimizer.zero_grad()
    physics = residual(net, T * torch.rand(48, 1)).pow(2).mean()
    boundary = initial_condition(net)
    loss = physics + 5.0 * boundary
    loss.backward()
    optimizer.step()
    scheduler.step()
    if it % 100 == 0:
        print(f"it {it:4d} physics {physics.item():.5f} boundary {boundary.item():.6f} relative error {relative_error():.3f}")
print(f"final relative error {relative_error():.4f}")
