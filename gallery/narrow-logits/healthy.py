"""Two views of one item are brought into a joint space, and found again by each other."""
import argparse
import torch
from torch import nn
from torch.nn import functional as F
from sklearn.datasets import make_low_rank_matrix
import numpy as np



def views(n, seed, d_lat=12):
    world = np.random.default_rng(0)
    A, B = world.normal(size=(d_lat, 40)), world.normal(size=(d_lat, 30))
    r = np.random.default_rng(seed)
    z = r.normal(size=(n, d_lat))
    a = np.tanh(z @ A / 3) + r.normal(0, .25, (n, 40))
    b = np.sin(z @ B / 3) + r.normal(0, .25, (n, 30))
    return torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)


class Tower(nn.Module):
    def __init__(self, d_in, d_out=32):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(d_in, 128), nn.ReLU(), nn.LayerNorm(128), nn.Linear(128, d_out))

    def forward(self, x):
        return F.normalize(self.mlp(x), dim=-1)


class Model(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.a, self.b = Tower(40), Tower(30)
        self.temperature = temperature

    def forward(self, xa, xb):
        logits = self.a(xa) @ self.b(xb).T / self.temperature
        target = torch.arange(len(xa))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    @torch.no_grad()
    def recall(self, xa, xb, k):
        sim = self.a(xa) @ self.b(xb).T
        return (sim.topk(k, 1).indices == torch.arange(len(xa))[:, None]).any(1).float().mean().item()


if __name__ == "__main__":
    cli = argparse.ArgumentParser()
    cli.add_argument("--temperature", type=float, default=0.07)
    cli.add_argument("--epochs", type=int, default=20)
    cfg = cli.parse_args()
    torch.manual_seed(0)
    ta, tb = views(5000, 1)
    va, vb = views(500, 2)
    m = Model(cfg.temperature)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=1e-2)
    for ep in range(cfg.epochs):
        m.train()
        s = n = 0
        for idx in torch.randperm(len(ta)).split(250):
            loss = m(ta[idx], tb[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            s, n = s + loss.item(), n + 1
        if ep % 4 == 3:
            print(f"epoch {ep + 1:2d}  loss {s / n:.4f}")
    m.eval()
    print(f"retrieval among 500: R@1 {m.recall(va, vb, 1):.3f}  R@5 {m.recall(va, vb, 5):.3f}")
