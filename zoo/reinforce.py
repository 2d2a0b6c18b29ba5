"""REINFORCE with a moving baseline on a small corridor world written in this file."""
import random

import torch
from torch import nn, optim
from torch.distributions import Categorical


class Corridor:
    """Walk to the goal on a line of nine cells. The goal side is shown; each step costs 0.05."""

    size, limit = 9, 14

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def reset(self):
        self.pos = self.rng.randrange(2, self.size - 2)
        self.goal = self.rng.choice([0, self.size - 1])
        self.t = 0
        return self._observe()

    def step(self, action):
        self.pos += 1 if action == 1 else -1
        self.t += 1
        reached = self.pos == self.goal
        fell = self.pos in (0, self.size - 1) and not reached
        reward = 1.0 if reached else (-1.0 if fell else -0.05)
        return self._observe(), reward, reached or fell or self.t >= self.limit

    def _observe(self):
        side = 1.0 if self.goal else -1.0
        return torch.tensor([(self.pos - 4) / 2.5, side, self.t / self.limit - 0.5])


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(3, 32)
        self.affine2 = nn.Linear(32, 2)

    def forward(self, x):
        return self.affine2(torch.tanh(self.affine1(x)))


def play(env, policy, greedy=False):
    obs, done, log_probs, rewards = env.reset(), False, [], []
    while not done:
        logits = policy(obs)
        if greedy:
            action = logits.argmax()
        else:
            dist = Categorical(logits=logits)
            action = dist.sample()
            log_probs.append(dist.log_prob(action))
        obs, reward, done = env.step(action.item())
        rewards.append(reward)
    return log_probs, rewards


def returns_to_go(rewards, gamma):
    out, R = [], 0.0
    for r in reversed(rewards):
        R = r + gamma * R
        out.append(R)
    return torch.tensor(out[::-1])


def main():
    torch.manual_seed(543)
    env, test_env = Corridor(543), Corridor(999)
    policy = Policy()
    optimizer = optim.Adam(policy.parameters(), lr=4e-3)
    baseline = 0.0
    for epoch in range(8):
        totals = []
        for _ in range(12):
            losses = []
            for _ in range(4):  # four episodes make one update
                log_probs, rewards = play(env, policy)
                G = returns_to_go(rewards, gamma=0.97)
                losses.append(-(torch.stack(log_probs) * (G - baseline)).sum())
                totals.append(sum(rewards))
                baseline = 0.95 * baseline + 0.05 * G[0].item()
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
        with torch.no_grad():
            greedy = [sum(play(test_env, policy, greedy=True)[1]) for _ in range(30)]
        print(f"epoch {epoch} sampled return {sum(totals) / len(totals):+.3f} greedy return {sum(greedy) / 30:+.3f}")
    print(f"greedy return at the end {sum(greedy) / 30:+.3f}")


if __name__ == "__main__":
    main()
