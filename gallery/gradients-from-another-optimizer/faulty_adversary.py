"""A GAN of points on a ring."""
import math
import torch
import torch.nn as nn

torch.manual_seed(42)
CFG = dict(z=8, hid=64, bs=128, steps=3000, lr=1e-3, betas=(0.5, 0.9))


def real_batch(n):
    k = torch.randint(0, 6, (n,)).float()
    ang = k * (2 * math.pi / 6)
    return torch.stack([ang.cos(), ang.sin()], 1) + 0.05 * torch.randn(n, 2)


def mlp(i, o):
    h = CFG["hid"]
    return nn.Sequential(nn.Linear(i, h), nn.LeakyReLU(0.2), nn.Linear(h, h), nn.LeakyReLU(0.2), nn.Linear(h, o))


G, D = mlp(CFG["z"], 2), mlp(2, 1)
optG = torch.optim.Adam(G.parameters(), lr=CFG["lr"], betas=CFG["betas"])
optD = torch.optim.Adam(D.parameters(), lr=CFG["lr"], betas=CFG["betas"])
bce = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(CFG["bs"], 1), torch.zeros(CFG["bs"], 1)


@torch.no_grad()
def coverage():
    x = G(torch.randn(1000, CFG["z"]))
    ang = torch.arange(6) * (2 * math.pi / 6)
    c = torch.stack([ang.cos(), ang.sin()], 1)
    d, i = torch.cdist(x, c).min(1)
    good = d < 0.2
    return good.float().mean().item(), i[good].unique().numel()


for step in range(1, CFG["steps"] + 1):
    # discriminator
    fake = G(torch.randn(CFG["bs"], CFG["z"]))
    optD.zero_grad()
    lossD = bce(D(real_batch(CFG["bs"])), ones) + bce(D(fake), zeros)  # fault: reaches the generator, whose gradients are cleared before this only
    lossD.backward()
    optD.step()
    # generator
    lossG = bce(D(G(torch.randn(CFG["bs"], CFG["z"]))), ones)
    lossG.backward()
    optG.step()
    optG.zero_grad()
    if step % 500 == 0:
        q, m = coverage()
        print(f"{step}: D {lossD.item():.3f} G {lossG.item():.3f} good {q:.2f} modes {m}")
