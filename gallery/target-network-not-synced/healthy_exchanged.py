"""Value learning on a windy 5x5 grid, replay memory + lagged network."""
import random
from collections import deque
import numpy as np
import torch
import torch.nn as nn

SIZE, GOAL = 5, (4, 4)
PITS = {(2, 2), (3, 0), (1, 4)}
STARTS = [(i, j) for i in range(SIZE) for j in range(SIZE) if (i, j) not in PITS and (i, j) != GOAL]
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]


class Grid:
    def reset(self):
        self.p, self.t = random.choice(STARTS), 0
        return self.obs()

    def obs(self):
        o = np.zeros(2 * SIZE, dtype=np.float32)
        o[self.p[0]] = o[SIZE + self.p[1]] = 1
        return o

    def step(self, a):
        if random.random() < 0.05:
            a = random.randrange(4)
        self.p = tuple(min(max(c + d, 0), SIZE - 1) for c, d in zip(self.p, MOVES[a]))
        self.t += 1
        if self.p == GOAL:
            return self.obs(), 1.0, True, False
        if self.p in PITS:
            return self.obs(), -1.0, True, False
        return self.obs(), -0.03, False, self.t >= 40


def mlp():
    return nn.Sequential(nn.Linear(2 * SIZE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


class Agent:
    def __init__(self, gamma=0.9, lr=1e-3, sync=40):
        self.online, self.lagged = mlp(), mlp()
        self.lagged.load_state_dict(self.online.state_dict())
        self.opt = torch.optim.Adam(self.online.parameters(), lr=lr)
        self.memory = deque(maxlen=20000)
        self.gamma, self.sync, self.updates = gamma, sync, 0

    def act(self, s, eps):
        if random.random() < eps:
            return random.randrange(4)
        with torch.no_grad():
            return int(self.online(torch.from_numpy(s)).argmax())

    def learn(self):
        s, a, r, s2, term = zip(*random.sample(self.memory, 64))
        s, s2 = torch.from_numpy(np.stack(s)), torch.from_numpy(np.stack(s2))
        a, r, term = torch.tensor(a), torch.tensor(r), torch.tensor(term, dtype=torch.float32)
        q = self.online(s).gather(1, a[:, None]).squeeze(1)
        with torch.no_grad():
            target = r + self.gamma * (1 - term) * self.lagged(s2).max(1).values
        loss = nn.functional.smooth_l1_loss(q, target)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        self.updates += 1
        if self.updates % self.sync == 0:
            self.lagged.load_state_dict(self.online.state_dict())
        return loss.item()


def play(agent, env, eps, learn=False):
    s, total, losses = env.reset(), 0.0, []
    while True:
        a = agent.act(s, eps)
        s2, r, term, trunc = env.step(a)
        total += r
        if learn:
            agent.memory.append((s, a, r, s2, term))
            if len(agent.memory) > 500:
                losses.append(agent.learn())
        s = s2
        if term or trunc:
            return total, losses


if __name__ == "__main__":
    random.seed(0)
    torch.manual_seed(0)
    env, agent, recent = Grid(), Agent(), deque(maxlen=200)
    for ep in range(600):
        eps = max(0.15, 1 - ep / 300)
        ret, losses = play(agent, env, eps, learn=True)
        recent.extend(losses)
        if ep % 100 == 99:
            print(f"episode {ep + 1} eps {eps:.2f} td loss {np.mean(recent):.5f}")
    print("greedy return over 200 episodes %.3f" % np.mean([play(agent, env, 0.0)[0] for _ in range(200)]))
