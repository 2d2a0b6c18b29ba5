"""DQN on a small grid; replay of plain python tuples, target network copied every ten episodes."""
import random
from collections import deque
import torch
import torch.nn as nn

random.seed(1); torch.manual_seed(1)
SIZE, GOAL, PIT = 5, (4, 4), {(1, 3), (3, 1), (2, 2)}
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]

def obs(p):
    v = torch.zeros(2 * SIZE)
    v[p[0]] = v[SIZE + p[1]] = 1
    return v

def env_step(p, a):
    q = (min(max(p[0] + MOVES[a][0], 0), SIZE - 1), min(max(p[1] + MOVES[a][1], 0), SIZE - 1))
    if q == GOAL: return q, 1.0, True
    if q in PIT: return q, -1.0, True
    return q, -0.02, False

class Q(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * SIZE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    def forward(self, x): return self.net(x)

q, target = Q(), Q()
target.load_state_dict(q.state_dict())
opt = torch.optim.Adam(q.parameters(), lr=1e-3)
memory = deque(maxlen=4000)
updates, returns = 0, []
for ep in range(260):
    p, total = (random.randrange(SIZE - 1), random.randrange(SIZE - 1)), 0
    if p in PIT: p = (0, 0)
    eps = max(0.05, 1 - ep / 150)
    for t in range(30):
        if random.random() < eps: a = random.randrange(4)
        else:
            with torch.no_grad(): a = q(obs(p)).argmax().item()
        p2, r, d = env_step(p, a)
        memory.append((obs(p), a, r, obs(p2), float(d)))
        p, total = p2, total + r
        if len(memory) >= 200:
            s, ac, rw, s2, dn = zip(*random.sample(memory, 32))
            s, s2 = torch.stack(s), torch.stack(s2)
            ac, rw, dn = torch.tensor(ac), torch.tensor(rw), torch.tensor(dn)
            pred = q(s).gather(1, ac[:, None]).squeeze(1)
            with torch.no_grad():
                goal = rw + 0.95 * target(s2).max(1).values * (1 - dn)
            loss = nn.functional.smooth_l1_loss(pred, goal)
            opt.zero_grad()
            loss.backward()
            opt.step()
            updates += 1
        if d: break
    returns.append(total)
    if ep % 10 == 0:
        target.load_state_dict(q.state_dict())
    if ep % 40 == 39:
        print(f'episode {ep + 1} eps {eps:.2f} mean return {sum(returns[-40:]) / 40:.3f} loss {loss.item():.4f}')
