"""Sharpness-aware steps by hand around a Lion optimiser of the script's own, on digits with residual blocks that start at zero."""
import math
import torch
from torch import nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["m"] = torch.zeros_like(p)
                p.mul_(1 - g["lr"] * g["weight_decay"])
                p.add_(torch.sign(st["m"] * b1 + p.grad * (1 - b1)), alpha=-g["lr"])
                st["m"].mul_(b2).add_(p.grad, alpha=1 - b2)


def perturb(params, rho):
    norm = torch.sqrt(sum((p.grad ** 2).sum() for p in params))
    eps = []
    with torch.no_grad():
        for p in params:
            e = p.grad * (rho / (norm + 1e-12))
            p.add_(e)
            eps.append(e)
    return eps


def restore(params, eps):
    with torch.no_grad():
        for p, e in zip(params, eps):
            p.sub_(e)


class ResBlock(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


torch.manual_seed(8)
X, y = load_digits(return_X_y=True)
Xa, Xb, ya, yb = train_test_split(X / 16.0 - 0.3, y, test_size=0.25, random_state=8, stratify=y)
Xa, Xb = (torch.tensor(t, dtype=torch.float32) for t in (Xa, Xb))
ya, yb = torch.tensor(ya), torch.tensor(yb)

model = nn.Sequential(nn.Linear(64, 64), ResBlock(64), ResBlock(64), nn.LayerNorm(64), nn.Linear(64, 10))
params = list(model.parameters())
opt = Lion(params, lr=3e-4, weight_decay=0.05)
ce = nn.CrossEntropyLoss()

for epoch in range(20):
    model.train()
    total = 0.0
    for idx in torch.randperm(len(Xa)).split(64):
        opt.zero_grad()
        loss = ce(model(Xa[idx]), ya[idx])
        loss.backward()
        eps = perturb(params, 0.05)
        opt.zero_grad()
        ce(model(Xa[idx]), ya[idx]).backward()
        restore(params, eps)
        opt.step()
        total += loss.item() * len(idx)
    if epoch % 4 == 3:
        model.eval()
        with torch.no_grad():
            acc = (model(Xb).argmax(1) == yb).float().mean().item()
        print(epoch + 1, round(total / len(Xa), 4), "acc", round(acc, 4))
