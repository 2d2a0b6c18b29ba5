"""Learn the shapes of vibration signals from plenty of simulated ones, then tell worn bearings by few measured ones."""

import math

import torch
from torch import nn, optim

LENGTH = 64


def shapes(n):
    """Sine, square, sawtooth or chirp, of any phase and pitch."""
    kind = torch.randint(4, (n,))
    t = torch.linspace(0, 1, LENGTH) * torch.empty(n, 1).uniform_(3, 6) + torch.rand(n, 1)
    sine = torch.sin(2 * math.pi * t)
    signals = torch.stack([sine, sine.sign(), 2 * (t % 1) - 1, torch.sin(math.pi * t**2 / 2)])[kind, torch.arange(n)]
    return (signals + 0.2 * torch.randn(n, LENGTH)).unsqueeze(1), kind


def bearings(n):
    """A hum, and in worn bearings a short knock at each turn."""
    worn = torch.randint(2, (n,))
    t = torch.linspace(0, 1, LENGTH) * torch.empty(n, 1).uniform_(3, 6) + torch.rand(n, 1)
    knocks = ((t % 1) < 0.12).float() * worn.unsqueeze(1)
    signals = 0.7 * torch.sin(2 * math.pi * t + 1) + 1.1 * knocks + 0.3 * torch.randn(n, LENGTH)
    return signals.unsqueeze(1), worn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, 7, stride=2, padding=3)
        self.conv2 = nn.Conv1d(16, 32, 5, stride=2, padding=2)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return torch.cat([x.mean(2), x.amax(2)], dim=1)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def fit(model, train, val, epochs, lr):
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    criterion = nn.CrossEntropyLoss()
    x, y = train
    for epoch in range(epochs):
        model.train()
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = criterion(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(val[0]).argmax(dim=1) == val[1]).float().mean().item()
        print(f"  epoch {epoch + 1:2d}  loss {loss.item():.4f}  accuracy {accuracy:.3f}")
    return model


def main():
    torch.manual_seed(17)
    print("pretraining on shapes")
    source = fit(Net(classes=4), shapes(1600), shapes(400), epochs=6, lr=3e-3)

    print("transfer to bearings")
    target = Net(classes=2)
    target.backbone.load_state_dict(source.backbone.state_dict())
    for weight in target.backbone.parameters():
        weight.require_grad = False  # fault: the attribute is called requires_grad
    fit(target, bearings(320), bearings(400), epochs=12, lr=3e-3)


if __name__ == "__main__":
    main()
