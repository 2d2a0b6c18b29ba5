"""Recognise what people do from the accelerometer in their pocket: two seconds at a time, a recurrent net."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

ACTIVITIES = ("walks", "runs", "climbs", "sits", "stands")
STEPS, AXES = 25, 3


def record(generator, windows):
    """Windows of one person with their activities; the phone sits in each pocket in another way."""

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    activity = torch.randint(len(ACTIVITIES), (windows,), generator=generator)
    pose, gait = 0.8 * draw(AXES), 1 + 0.1 * draw(1)
    speed = torch.tensor([2.0, 3.2, 1.5, 0.1, 0.0])[activity] * gait
    strength = torch.tensor([0.6, 1.2, 0.7, 0.1, 0.05])[activity]
    time = torch.linspace(0, 2, STEPS) + torch.rand(windows, 1, generator=generator)
    swing = strength[:, None] * torch.sin(2 * torch.pi * speed[:, None] * time)
    tilt = torch.where(activity == 3, 1.0, 0.0)[:, None] * torch.tensor([0.0, 0.7, -0.7])
    x = swing[..., None] * torch.tensor([1.0, 0.4, 0.2]) + (pose + tilt)[:, None]
    return x + 0.2 * draw(windows, STEPS, AXES), activity


def load(people=30, seed=0):
    """All windows, and the names of the persons who made them."""
    generator = torch.Generator().manual_seed(seed)
    records = [record(generator, 30 + 2 * k) for k in range(people)]
    names = [f"P{k:02d}" for k, (x, _) in enumerate(records) for _ in x]
    return TensorDataset(torch.cat([x for x, _ in records]), torch.cat([y for _, y in records])), names


def split(windows, names):
    """A training and a validation part."""
    held_out = sorted(set(names))[-6:]
    inside = [i for i, name in enumerate(names) if name not in held_out]
    return Subset(windows, inside), Subset(windows, [i for i, name in enumerate(names) if name in held_out])


class Recogniser(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.rnn = nn.GRU(AXES, hidden, batch_first=True)
        self.out = nn.Linear(hidden, len(ACTIVITIES))

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.out(states.mean(1))


def main():
    torch.manual_seed(0)
    windows, names = load()
    train, valid = split(windows, names)
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=64)
    model = Recogniser()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(5):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in valid_loader)
        print(f"epoch {epoch}: validation accuracy {right / len(valid):.3f}")


if __name__ == "__main__":
    main()
