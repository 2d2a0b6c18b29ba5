"""Conditional neural process; context sizes change from step to step."""
import torch
import torch.nn as nn
from torch.distributions import Normal


def gp_batch(b, n, g):
    x = torch.rand(b, n, 1, generator=g) * 4 - 2
    ls = 0.4 + 0.4 * torch.rand(b, 1, 1, generator=g)
    k = torch.exp(-0.5 * ((x - x.transpose(1, 2)) / ls) ** 2) + 1e-3 * torch.eye(n)
    return x, torch.linalg.cholesky(k) @ torch.randn(b, n, 1, generator=g)


class CNP(nn.Module):
    def __init__(self, r=64):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, r))
        self.dec = nn.Sequential(nn.Linear(r + 1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, xc, yc, xt):
        r = self.enc(torch.cat([xc, yc], -1)).mean(1, keepdim=True)
        o = self.dec(torch.cat([r.expand(-1, xt.size(1), -1), xt], -1))
        return Normal(o[..., :1], 0.03 + 0.97 * nn.functional.softplus(o[..., 1:]))


def train(steps=1500):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    net = CNP()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    avg = None
    for s in range(1, steps + 1):
        nc = int(torch.randint(3, 20, (1,), generator=g))
        x, y = gp_batch(32, nc + 15, g)
        d = net(x[:, :nc], y[:, :nc], x)
        loss = -d.log_prob(y).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        avg = loss.item() if avg is None else 0.98 * avg + 0.02 * loss.item()
        if s % 300 == 0:
            with torch.no_grad():
                gv = torch.Generator().manual_seed(99)
                x, y = gp_batch(200, 30, gv)
                d = net(x[:, :15], y[:, :15], x[:, 15:])
                print(f"{s} nll {avg:.3f} held-out {-d.log_prob(y[:, 15:]).mean().item():.3f} rmse {(d.mean - y[:, 15:]).pow(2).mean().sqrt().item():.3f}")


train()
