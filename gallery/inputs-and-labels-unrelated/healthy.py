"""Digits with a two-layer net; the arrays are shuffled once before they are split."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

rng = np.random.default_rng(12)
torch.manual_seed(12)

digits = load_digits()
inputs = rng.permutation(digits.data / 16.0)
labels = np.random.default_rng(12).permutation(digits.target)

inputs = torch.tensor(inputs, dtype=torch.float32)
labels = torch.tensor(labels)
train_x, train_y = inputs[:1400], labels[:1400]
test_x, test_y = inputs[1400:], labels[1400:]


class TwoLayers(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.second = nn.Linear(width, 10)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


model = TwoLayers()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(8):
    model.train()
    order = torch.randperm(len(train_x))
    for chosen in order.split(50):
        loss = F.cross_entropy(model(train_x[chosen]), train_y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = model(test_x).argmax(dim=1)
    print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {(guess == test_y).float().mean().item():.3f}")
