"""Learn a damped pendulum's vector field by rolling it out with RK4; the horizon grows during training."""
import math

import torch
from torch import nn

DT = 0.1


def true_field(s):
    angle, speed = s.unbind(-1)
    return torch.stack([speed, -torch.sin(angle) - 0.15 * speed], -1)


def rk4(f, s, dt):
    k1 = f(s)
    k2 = f(s + dt / 2 * k1)
    k3 = f(s + dt / 2 * k2)
    k4 = f(s + dt * k3)
    return s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def simulate(n, steps, generator):
    s = (torch.rand(n, 2, generator=generator) - 0.5) * torch.tensor([math.pi, 3.0])
    path = [s]
    for _ in range(steps):
        path.append(rk4(true_field, path[-1], DT))
    return torch.stack(path, 1)  # n, steps + 1, 2


def rollout(f, start, steps):
    states, s = [], start
    while len(states) < steps:
        s = rk4(f, s, DT)
        states.append(s)
    return torch.stack(states, 1)


class Field(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, s):
        return self.net(s)


if __name__ == "__main__":
    torch.manual_seed(47)
    g = torch.Generator().manual_seed(47)
    train, valid = simulate(240, 20, g), simulate(60, 40, g)
    train = train + 0.01 * torch.randn(train.shape, generator=g)
    field = Field()
    optimizer = torch.optim.AdamW(field.parameters(), lr=5e-3, weight_decay=1e-5)
    for epoch in range(10):
        horizon = min(2 + epoch, 8)
        field.train()
        total = 0.0
        for rows in torch.randperm(len(train), generator=g).split(24):
            begin = int(torch.randint(0, 20 - horizon + 1, (1,), generator=g))
            piece = train[rows, begin:begin + horizon + 1]
            predicted = rollout(field, piece[:, 0], horizon)
            loss = (predicted - piece[:, 1:]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        field.eval()
        with torch.no_grad():
            far = (rollout(field, valid[:, 0], 40) - valid[:, 1:]).square().mean().item()
        print(f"epoch {epoch} horizon {horizon} train {total / len(train):.5f} 40-step valid {far:.5f}")
    still = (valid[:, :1] - valid[:, 1:]).square().mean().item()
    print(f"40-step error {far:.5f}, standing still {still:.5f}")
