"""The value of a random walk on 19 states, by TD(0) with a small network and a slowly following copy for the targets."""
import copy
import random

import torch
import torch.nn.functional as F
from torch import nn

random.seed(4)
torch.manual_seed(4)
STATES, TAU = 19, 0.05
FEATURES = torch.eye(STATES)


def walk():
    """(state, reward, next state or None) until an end is reached."""
    state, steps = STATES // 2, []
    while state is not None:
        following = state + random.choice((-1, 1))
        reward = float(following == STATES) - float(following < 0)
        following = following if 0 <= following < STATES else None
        steps.append((state, reward, following))
        state = following
    return steps


@torch.no_grad()
def follow(behind: nn.Module, ahead: nn.Module):
    """Move the first network a little towards the second."""
    for mine, theirs in zip(behind.parameters(), ahead.parameters()):
        mine.lerp_(theirs, TAU)


memory = [step for _ in range(60) for step in walk()]
value = nn.Sequential(nn.Linear(STATES, 32), nn.Tanh(), nn.Linear(32, 1))
slow = copy.deepcopy(value).requires_grad_(False)
optimizer = torch.optim.Adam(value.parameters(), lr=3e-3)
truth = torch.linspace(-1, 1, STATES + 2)[1:-1]
for step in range(1500):
    batch = random.sample(memory, 64)
    states = FEATURES[[s for s, _, _ in batch]]
    following = FEATURES[[0 if f is None else f for _, _, f in batch]]
    goes_on = torch.tensor([f is not None for _, _, f in batch])
    rewards = torch.tensor([r for _, r, _ in batch])
    target = rewards + goes_on * slow(following).squeeze(1)
    loss = F.mse_loss(value(states).squeeze(1), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    follow(slow, value)
    if step % 300 == 299:
        with torch.no_grad():
            error = (value(FEATURES).squeeze(1) - truth).square().mean().sqrt()
        print(f"step {step + 1}: loss {loss.item():.4f}, error of the values {error.item():.3f}")
