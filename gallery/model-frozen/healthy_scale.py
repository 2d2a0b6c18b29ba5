"""A net for the digits below five is moved to the digits from five on: a new classifier, and a scale that is learnt."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(4)
pixels, digits = load_digits(return_X_y=True)
pixels, digits = torch.tensor(pixels / 8 - 1, dtype=torch.float32), torch.tensor(digits)
low, high = (digits < 5).nonzero().flatten(), (digits >= 5).nonzero().flatten()


class Angles(nn.Module):
    """The cosine between features and one direction for each class."""

    def __init__(self, width, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width))

    def forward(self, features):
        return F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).T


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(8.0))

    def forward(self, cosines):
        return self.factor * cosines


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 96), nn.Linear(96, 80)
        self.angles, self.scale = Angles(80, 5), Scale()

    def forward(self, x):
        return self.scale(self.angles(torch.relu(self.second(torch.relu(self.first(x))))))


def fit(net, rows, target, epochs):
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    held_out, rows = rows[::5], torch.cat([rows[i::5] for i in range(1, 5)])
    for epoch in range(epochs):
        for batch in rows[torch.randperm(len(rows))].split(24):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(pixels[batch]), target[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = (net(pixels[held_out]).argmax(1) == target[held_out]).float().mean()
        print(f"epoch {epoch}: loss {loss.item():.3f} accuracy {right.item():.3f}")


net = Net()
fit(net, low, digits, 5)
net.angles = Angles(80, 5)
for number, child in enumerate(net.children()):
    if number < 2:
        child.requires_grad_(False)
fit(net, high, digits - 5, 20)
