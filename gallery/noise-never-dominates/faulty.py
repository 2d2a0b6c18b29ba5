"""A diffusion model of two moons, sampled step by step."""
import torch, math
import torch.nn as nn
from sklearn.datasets import make_moons
import numpy as np

T = 100


class Schedule:
    def __init__(self, steps=T, lo=1e-4, hi=0.08):
        self.betas = torch.linspace(lo, hi, steps)
        self.alphas = 1 - self.betas
        self.alpha_bar = torch.cumprod(self.alphas, 0)

    def noisy(self, x0, t, eps):
        a = self.alphas[t].unsqueeze(-1)  # fault: not the cumulative product
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    @torch.no_grad()
    def sample(self, net, n):
        x = torch.randn(n, 2)
        for t in reversed(range(T)):
            tt = torch.full((n,), t)
            eps = net(x, tt)
            mean = (x - self.betas[t] / (1 - self.alpha_bar[t]).sqrt() * eps) / self.alphas[t].sqrt()
            x = mean + (self.betas[t].sqrt() * torch.randn_like(x) if t else 0)
        return x


class Denoiser(nn.Module):
    def __init__(self, w=128):
        super().__init__()
        self.freq = nn.Parameter(torch.exp(torch.linspace(0, 4, 16)), requires_grad=False)
        self.net = nn.Sequential(nn.Linear(2 + 32, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, 2))

    def forward(self, x, t):
        a = t[:, None].float() / T * self.freq
        return self.net(torch.cat([x, a.sin(), a.cos()], 1))


def energy_distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def moons(n, seed):
    x, _ = make_moons(n, noise=0.05, random_state=seed)
    return torch.tensor((x - [0.5, 0.25]) / [0.87, 0.5], dtype=torch.float32)


if __name__ == "__main__":
    torch.manual_seed(0)
    data, ref = moons(6000, 0), moons(2000, 1)
    sch, net = Schedule(), Denoiser()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    avg = 0
    for it in range(1, 2001):
        x0 = data[torch.randint(len(data), (256,))]
        t = torch.randint(0, T, (256,))
        eps = torch.randn_like(x0)
        loss = (net(sch.noisy(x0, t, eps), t) - eps).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        avg += loss.item() / 500
        if it % 500 == 0:
            print("it %d loss %.4f" % (it, avg))
            avg = 0
    print("energy distance to fresh data %.4f (two real sets %.4f)" % (energy_distance(sch.sample(net, 2000), ref), energy_distance(moons(2000, 2), ref)))
