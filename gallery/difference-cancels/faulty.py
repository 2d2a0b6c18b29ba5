"""PPO for a contextual bandit over digits' features."""
import torch
import torch.nn as nn
from torch.distributions import Normal
from sklearn.datasets import load_iris

torch.manual_seed(17)
iris = load_iris()
X = torch.tensor((iris.data - iris.data.mean(0)) / iris.data.std(0), dtype=torch.float32)
goal = torch.stack([X[:, 0] * X[:, 2], torch.sin(2 * X[:, 1])], 1).clamp(-1.5, 1.5)


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.mu = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
        self.log_std = nn.Parameter(torch.full((2,), -0.5))
        self.v = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))

    def dist(self, s):
        return Normal(self.mu(s), self.log_std.exp())

    def evaluate(self, s, a):
        d = self.dist(s)
        return d.log_prob(a).sum(-1), d.entropy().sum(-1), self.v(s).squeeze(-1)


def reward(idx, a):
    return -((a - goal[idx]) ** 2).sum(-1)


ac = ActorCritic()
opt = torch.optim.Adam(ac.parameters(), lr=2e-3)
CLIP, EPOCHS, MB = 0.2, 5, 128
for it in range(1, 121):
    idx = torch.randint(0, len(X), (512,))
    s = X[idx]
    with torch.no_grad():
        d = ac.dist(s)
        a = d.sample()
    r = reward(idx, a)
    adv = r - ac.v(s).squeeze(-1).detach()
    adv = (adv - adv.mean()) / (adv.std() + 1e-8)
    for _ in range(EPOCHS):
        for mb in torch.randperm(512).split(MB):
            logp, ent, v = ac.evaluate(s[mb], a[mb])
            logp_old = ac.evaluate(s[mb], a[mb])[0]  # fault: the present policy, with its graph
            ratio = torch.exp(logp - logp_old)
            surr = torch.min(ratio * adv[mb], ratio.clamp(1 - CLIP, 1 + CLIP) * adv[mb])
            loss = -surr.mean() + 0.5 * ((v - r[mb]) ** 2).mean() - 0.001 * ent.mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(ac.parameters(), 0.5)
            opt.step()
    if it % 20 == 0:
        with torch.no_grad():
            det = reward(torch.arange(len(X)), ac.mu(X)).mean().item()
        print(f"iter {it} mean reward {r.mean().item():.3f} deterministic {det:.3f} std {ac.log_std.exp().mean().item():.3f}")
