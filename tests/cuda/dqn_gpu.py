"""DQN for a windy grid world. Sixteen walkers live on the CPU, transitions wait in pinned memory, the nets are on the GPU."""

import numpy as np
import torch
from torch import nn

SIZE, GAMMA, BATCH, WARMUP, TOTAL, SYNC_EVERY = 6, 0.95, 128, 40, 700, 20
MOVES = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])
GOAL = np.array([SIZE - 1, SIZE - 1])
PIT = np.array([2, 3])


class GridWorld:
    def __init__(self, walkers, seed):
        self.rng = np.random.default_rng(seed)
        self.at = self.rng.integers(0, SIZE - 1, (walkers, 2))
        self.age = np.zeros(walkers, dtype=int)

    def observe(self):
        board = np.zeros((len(self.at), 2, SIZE), dtype=np.float32)
        rows = np.arange(len(self.at))
        board[rows, 0, self.at[:, 0]] = 1
        board[rows, 1, self.at[:, 1]] = 1
        return torch.from_numpy(board.reshape(len(self.at), -1))

    def step(self, actions):
        gust = self.rng.random(len(actions)) < 0.1
        actions = np.where(gust, self.rng.integers(0, 4, len(actions)), actions)
        self.at = np.clip(self.at + MOVES[actions], 0, SIZE - 1)
        self.age += 1
        home, fell = (self.at == GOAL).all(1), (self.at == PIT).all(1)
        reward = torch.from_numpy(np.where(home, 1.0, np.where(fell, -1.0, -0.02)).astype(np.float32))
        done, seen = home | fell, self.observe()
        again = done | (self.age >= 60)
        self.at[again] = self.rng.integers(0, SIZE - 1, (again.sum(), 2))
        self.age[again] = 0
        return seen, reward, torch.from_numpy(done.astype(np.float32)), home.sum(), again.sum()


class ReplayBuffer:
    def __init__(self, capacity, obs_dim):
        self.capacity, self.pos, self.size = capacity, 0, 0
        self.obs = torch.empty(capacity, obs_dim, pin_memory=True)
        self.next_obs = torch.empty(capacity, obs_dim, pin_memory=True)
        self.action = torch.empty(capacity, dtype=torch.long, pin_memory=True)
        self.reward = torch.empty(capacity, pin_memory=True)
        self.done = torch.empty(capacity, pin_memory=True)

    def add(self, obs, action, reward, next_obs, done):
        at = (self.pos + torch.arange(len(obs))) % self.capacity
        self.obs[at], self.action[at], self.reward[at] = obs, action, reward
        self.next_obs[at], self.done[at] = next_obs, done
        self.pos, self.size = (self.pos + len(obs)) % self.capacity, min(self.size + len(obs), self.capacity)

    def sample(self, n):
        at = torch.randint(self.size, (n,))
        columns = (self.obs, self.action, self.reward, self.next_obs, self.done)
        return [c[at].pin_memory().cuda(non_blocking=True) for c in columns]


def make_net():
    return nn.Sequential(nn.Linear(2 * SIZE, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)).cuda()


torch.manual_seed(9)
envs, rng = GridWorld(16, seed=9), np.random.default_rng(10)
q_net, target_net = make_net(), make_net()
target_net.load_state_dict(q_net.state_dict())
optimizer = torch.optim.Adam(q_net.parameters(), lr=1e-3)
buffer = ReplayBuffer(8192, 2 * SIZE)
obs, reached, ended = envs.observe(), 0, 0
for t in range(1, TOTAL + 1):
    epsilon = max(0.1, 1.0 - t / 300)
    with torch.no_grad():
        greedy = q_net(obs.cuda()).argmax(1).cpu().numpy()
    action = np.where(rng.random(16) < epsilon, rng.integers(0, 4, 16), greedy)
    next_obs, reward, done, home, over = envs.step(action)
    buffer.add(obs, torch.from_numpy(action), reward, next_obs, done)
    obs, reached, ended = envs.observe(), reached + home, ended + over
    if t > WARMUP:
        s, a, r, s2, d = buffer.sample(BATCH)
        with torch.no_grad():
            target = r + GAMMA * (1 - d) * target_net(s2).max(dim=1).values
        q = q_net(s).gather(1, a.unsqueeze(1)).squeeze(1)
        loss = nn.functional.smooth_l1_loss(q, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(q_net.parameters(), 10.0)
        optimizer.step()
    if t % SYNC_EVERY == 0:
        target_net.load_state_dict(q_net.state_dict())
    if t % 100 == 0:
        print(f"step {t}: loss {loss.item():.4f}, epsilon {epsilon:.2f}, reached the goal in {reached / max(ended, 1):.1%}")
        reached = ended = 0
