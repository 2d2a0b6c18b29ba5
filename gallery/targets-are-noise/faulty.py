"""Denoising diffusion of the two moons (DDPM, noise prediction)."""
import copy
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import make_moons

device = "cpu"
T = 100
betas = torch.linspace(1e-4, 0.08, T)
alphas_bar = torch.cumprod(1 - betas, 0)


class Diffusion:
    def __init__(self, model, ema_decay=0.995):
        self.model, self.ema, self.decay = model, copy.deepcopy(model).requires_grad_(False), ema_decay

    def noise(self, x, t):
        ab = alphas_bar[t][:, None]
        return ab.sqrt() * x + (1 - ab).sqrt() * torch.randn_like(x)

    def loss(self, x):
        t = torch.randint(0, T, (x.size(0),))
        xt = self.noise(x, t)
        eps = torch.randn_like(x)  # fault: other noise than was added
        return (self.model(xt, t) - eps).pow(2).mean()

    @torch.no_grad()
    def update_ema(self):
        for a, b in zip(self.ema.parameters(), self.model.parameters()):
            a.mul_(self.decay).add_(b, alpha=1 - self.decay)

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 2)
        for i in reversed(range(T)):
            t = torch.full((n,), i)
            e = self.ema(x, t)
            a, ab = 1 - betas[i], alphas_bar[i]
            x = (x - betas[i] / (1 - ab).sqrt() * e) / a.sqrt()
            if i > 0:
                x = x + betas[i].sqrt() * torch.randn_like(x)
        return x


class Net(nn.Module):
    def __init__(self, h=96):
        super().__init__()
        self.temb = nn.Embedding(T, h)
        self.inp = nn.Linear(2, h)
        self.mid = nn.ModuleList([nn.Linear(h, h) for _ in range(2)])
        self.out = nn.Linear(h, 2)

    def forward(self, x, t):
        h = self.inp(x) + self.temb(t)
        for l in self.mid:
            h = h + l(torch.nn.functional.silu(h))
        return self.out(torch.nn.functional.silu(h))


def main():
    torch.manual_seed(0); np.random.seed(0)
    X, _ = make_moons(4000, noise=0.04)
    X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
    net = Net()
    diff = Diffusion(net)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(X, batch_size=256, shuffle=True, drop_last=True)
    for epoch in range(60):
        meter = []
        for xb in loader:
            l = diff.loss(xb)
            opt.zero_grad(); l.backward(); opt.step()
            diff.update_ema()
            meter.append(l.item())
        if epoch % 10 == 9:
            s = diff.sample(500)
            d = torch.cdist(s, X).min(1).values.mean()
            print("epoch", epoch + 1, "loss %.4f" % np.mean(meter), "mean dist to data %.4f" % d)


main()
