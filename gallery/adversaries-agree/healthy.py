"""A Wasserstein GAN with gradient penalty that learns a spiral."""
"""Wasserstein critic with gradient penalty, 2-D spiral."""
import math
import torch
import torch.nn as nn

torch.manual_seed(0)


def spiral(n):
    t = torch.rand(n).sqrt() * 3 * math.pi
    return torch.stack([t.cos() * t, t.sin() * t], 1) / 11 + 0.02 * torch.randn(n, 2)


def net(i, o, w=96):
    return nn.Sequential(nn.Linear(i, w), nn.LeakyReLU(0.2), nn.Linear(w, w), nn.LeakyReLU(0.2), nn.Linear(w, o))


def penalty(critic, real, fake):
    a = torch.rand(len(real), 1)
    mix = (a * real + (1 - a) * fake).requires_grad_(True)
    g, = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
    return ((g.norm(dim=1) - 1) ** 2).mean()


def distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


Z, B = 4, 128
gen, critic = nn.Sequential(net(Z, 2), nn.Tanh()), net(2, 1)
opt_g = torch.optim.Adam(gen.parameters(), lr=5e-4, betas=(0.5, 0.9))
opt_c = torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.5, 0.9))
for it in range(1, 1501):
    for _ in range(3):
        real = spiral(B)
        fake = gen(torch.randn(B, Z)).detach()
        gap = critic(real).mean() - critic(fake).mean()
        c_loss = -gap + 2.0 * penalty(critic, real, fake)
        opt_c.zero_grad()
        c_loss.backward()
        opt_c.step()
    g_loss = -critic(gen(torch.randn(B, Z))).mean()
    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()
    if it % 250 == 0:
        print(f"{it:5d}  critic {c_loss.item():+.4f}  generator {g_loss.item():+.4f}")
with torch.no_grad():
    out = gen(torch.randn(2000, Z))
print(f"energy distance {distance(out, spiral(2000)):.4f}, spread {out.std(0).mean():.3f} vs {spiral(2000).std(0).mean():.3f}")
