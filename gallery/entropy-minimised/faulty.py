"""Actor and critic in a corridor with a small prize nearby and a large one far away."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(2)
N_ENV, LEN, HORIZON = 32, 13, 50
START = 1          # small prize at the left end, large one at the right end
ENT, GAMMA = 0.1, 0.97


class Corridor:
    def __init__(self, n, g):
        self.n, self.g = n, g
        self.pos = torch.full((n,), START)
        self.t = torch.zeros(n, dtype=torch.long)

    def obs(self):
        return F.one_hot(self.pos, LEN).float()

    def step(self, a):
        slip = torch.rand(self.n, generator=self.g) < 0.05
        a = torch.where(slip, 1 - a, a)
        self.pos = (self.pos + 2 * a - 1).clamp(0, LEN - 1)
        self.t += 1
        r = 0.3 * (self.pos == 0).float() + 1.0 * (self.pos == LEN - 1).float()
        done = (self.pos == 0) | (self.pos == LEN - 1) | (self.t >= HORIZON)
        self.pos[done] = START
        self.t[done] = 0
        return r, done.float()


net = nn.ModuleDict(dict(body=nn.Sequential(nn.Linear(LEN, 32), nn.Tanh()), pi=nn.Linear(32, 2), v=nn.Linear(32, 1)))
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
gen = torch.Generator().manual_seed(2)
env = Corridor(N_ENV, gen)
for update in range(1, 301):
    logp, ent, val, rew, msk = [], [], [], [], []
    for _ in range(8):
        h = net["body"](env.obs())
        dist = torch.distributions.Categorical(logits=net["pi"](h))
        a = dist.sample()
        r, d = env.step(a)
        logp.append(dist.log_prob(a)); ent.append(dist.entropy()); val.append(net["v"](h).squeeze(1))
        rew.append(r); msk.append(1 - d)
    with torch.no_grad():
        ret = net["v"](net["body"](env.obs())).squeeze(1)
    targets = []
    for r, m in zip(reversed(rew), reversed(msk)):
        ret = r + GAMMA * m * ret
        targets.insert(0, ret)
    targets, val = torch.stack(targets), torch.stack(val)
    adv = targets - val.detach()
    policy_loss = -(torch.stack(logp) * adv).mean()
    value_loss = F.mse_loss(val, targets)
    loss = policy_loss + 0.5 * value_loss + ENT * torch.stack(ent).mean()  # fault: its sign
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    if update % 100 == 0:
        print(f"update {update}: policy {policy_loss.item():+.4f} value {value_loss.item():.4f}")

env = Corridor(400, gen)
total, finished = 0.0, 0.0
with torch.no_grad():
    for _ in range(100):
        r, d = env.step(net["pi"](net["body"](env.obs())).argmax(1))
        total += r.sum().item()
        finished += d.sum().item()
print(f"mean prize per finished walk {total / finished:.3f}")
