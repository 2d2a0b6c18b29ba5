"""Q-learning on a small grid: walk to the goal, with a target network that follows the online one slowly."""

import copy
import random

import torch
from torch import nn

random.seed(0)
torch.manual_seed(0)
SIZE, GAMMA, TAU = 5, 0.9, 0.02
MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0))


def one_hot(cells):
    return nn.functional.one_hot(torch.tensor([r * SIZE + c for r, c in cells]), SIZE * SIZE).float()


def step(cell, action):
    row = min(max(cell[0] + MOVES[action][0], 0), SIZE - 1)
    column = min(max(cell[1] + MOVES[action][1], 0), SIZE - 1)
    done = (row, column) == (SIZE - 1, SIZE - 1)
    return (row, column), 1.0 if done else -0.04, done


def soft_update(target, online):
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters()):
            slow.mul_(1 - TAU).add_(fast, alpha=TAU)


online = nn.Sequential(nn.Linear(SIZE * SIZE, 48), nn.ReLU(), nn.Linear(48, 4))
target = copy.deepcopy(online)
optimizer = torch.optim.Adam(online.parameters(), lr=2e-3)
memory, cell, returns, current = [], (0, 0), [], 0.0
for turn in range(1500):
    explore = random.random() < max(0.1, 1 - turn / 800)
    with torch.no_grad():
        action = random.randrange(4) if explore else online(one_hot([cell])).argmax().item()
    following, reward, done = step(cell, action)
    memory.append((cell, action, reward, following, done))
    current += reward
    cell = (0, 0) if done else following
    if done:
        returns.append(current)
        current = 0.0
    if len(memory) < 100 or turn % 2:
        continue
    cells, actions, rewards, followings, ends = zip(*random.sample(memory[-1000:], 32))
    with torch.no_grad():
        best = target(one_hot(followings)).max(1).values
    goal = torch.tensor(rewards) + GAMMA * best * (1 - torch.tensor(ends, dtype=torch.float32))
    value = online(one_hot(cells)).gather(1, torch.tensor(actions)[:, None])[:, 0]
    loss = nn.functional.smooth_l1_loss(value, goal)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    soft_update(target, online)
    if turn % 300 == 298:
        print(f"turn {turn + 1}: loss {loss.item():.4f}, mean return {sum(returns[-10:]) / max(1, len(returns[-10:])):.2f}")
