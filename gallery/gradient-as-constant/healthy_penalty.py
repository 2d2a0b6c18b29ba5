"""A Wasserstein critic on a ring of points, held smooth by the norm of its gradient."""

import math

import torch
from torch import nn

torch.manual_seed(5)
generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
critic = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
optimizer_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))


def ring(n):
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


def penalty(real, fake):
    mix = torch.rand(len(real), 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    judged = critic(between)
    (slope,) = torch.autograd.grad(judged.sum(), between, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


for round in range(150):
    for _ in range(3):
        real, fake = ring(64), generator(torch.randn(64, 4)).detach()
        smooth = penalty(real, fake)
        critic_loss = critic(fake).mean() - critic(real).mean() + 10 * smooth
        optimizer_c.zero_grad()
        critic_loss.backward()
        optimizer_c.step()
    generator_loss = -critic(generator(torch.randn(64, 4))).mean()
    optimizer_g.zero_grad()
    generator_loss.backward()
    optimizer_g.step()
    if round % 50 == 49:
        print(f"round {round + 1}: critic {critic_loss.item():.3f}, penalty {smooth.item():.3f}")
