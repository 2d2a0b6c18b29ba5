"""RealNVP density estimation on two moons, trained by maximum likelihood."""
import math

import torch
import torch.nn as nn
from sklearn.datasets import make_moons


class AffineCoupling(nn.Module):
    def __init__(self, flip, hidden=48):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        # the flow starts as the identity
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def params(self, a):
        s, t = self.net(a).chunk(2, dim=1)
        return torch.tanh(s) * 1.5, t

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        if self.flip:
            a, b = b, a
        s, t = self.params(a)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], dim=1), s.sum(1)

    def inverse(self, z):
        a, b = z.chunk(2, dim=1)
        if self.flip:
            a, b = b, a
        s, t = self.params(a)
        b = (b - t) * (-s).exp()
        return torch.cat([b, a] if self.flip else [a, b], dim=1)


class RealNVP(nn.Module):
    def __init__(self, n_layers=6):
        super().__init__()
        self.layers = nn.ModuleList(AffineCoupling(i % 2 == 1) for i in range(n_layers))
        self.prior = torch.distributions.Normal(0.0, 1.0)

    def log_prob(self, x):
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, ld = layer(x)
            log_det = log_det + ld
        return self.prior.log_prob(x).sum(1) + log_det

    @torch.no_grad()
    def sample(self, n):
        z = torch.randn(n, 2)
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z


def get_moons(n, seed, stats=None):
    x = torch.tensor(make_moons(n, noise=0.08, random_state=seed)[0], dtype=torch.float32)
    mean, std = stats or (x.mean(0), x.std(0))
    return (x - mean) / std, (mean, std)


def main():
    torch.manual_seed(71)
    x_train, stats = get_moons(3000, 71)
    x_valid, _ = get_moons(600, 72, stats)
    flow = RealNVP()
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    gaussian = 0.5 * 2 * math.log(2 * math.pi) + 0.5 * x_valid.square().sum(1).mean().item()
    print(f"standard normal: {gaussian:.4f} nats")
    for epoch in range(12):
        flow.train()
        total = 0.0
        for batch in x_train[torch.randperm(len(x_train))].split(150):
            nll = -flow.log_prob(batch).mean()
            optimizer.zero_grad()
            nll.backward()
            optimizer.step()
            total += nll.item() * len(batch)
        flow.eval()
        with torch.no_grad():
            valid = -flow.log_prob(x_valid).mean().item()
        print(f"epoch {epoch:2d} train nll {total / len(x_train):.4f} valid nll {valid:.4f}")
    off = torch.cdist(flow.sample(500), x_train).min(1).values.mean().item()
    print(f"samples lie {off:.4f} from the nearest training point")


if __name__ == "__main__":
    main()
