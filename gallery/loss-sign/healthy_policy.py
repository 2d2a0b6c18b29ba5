"""Digits with bandit feedback: one guess per image, and all that comes back is whether it was right."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(17)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]

guesser = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
optimizer = torch.optim.Adam(guesser.parameters(), lr=4e-3)
usual = 0.1

for epoch in range(20):
    hits = 0.0
    for rows in train[torch.randperm(len(train))].split(100):
        choice = Categorical(logits=guesser(x[rows]))
        guess = choice.sample()
        reward = (guess == y[rows]).float() + 0.1 * ((guess - y[rows]).abs() == 1).float()
        surplus = reward - usual
        usual += 0.1 * (reward.mean().item() - usual)
        objective = -(choice.log_prob(guess) * surplus).mean()
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        hits += (guess == y[rows]).sum().item()
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: right guesses {hits / len(train):.3f}")

with torch.no_grad():
    print(f"test accuracy {(guesser(x[test]).argmax(1) == y[test]).float().mean():.3f}")
