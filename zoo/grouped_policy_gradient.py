"""Policy gradient with advantages normalised within groups: the loss is zero in value at every step, its gradient is not."""
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(2)
GROUP = 8

policy = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 4))
optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
best_arm = torch.randn(6, 4)


def rollout(states):
    with torch.no_grad():
        actions = Categorical(logits=policy(states)).sample((GROUP,))
    rewards = ((states @ best_arm).argmax(1) == actions).float()
    advantages = (rewards - rewards.mean(0)) / (rewards.std(0) + 1e-4)
    return actions, rewards, advantages


for iteration in range(150):
    states = torch.randn(32, 6)
    actions, rewards, advantages = rollout(states)
    log_p = Categorical(logits=policy(states)).log_prob(actions)
    ratio = (log_p - log_p.detach()).exp()
    loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if iteration % 50 == 49:
        print(f"iteration {iteration + 1}: mean reward {rewards.mean().item():.3f}")
