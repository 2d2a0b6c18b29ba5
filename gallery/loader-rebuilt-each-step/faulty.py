"""A fixed number of steps on two noisy moons, with one worker that prepares the batches."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

STEPS = 14


class Moons(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        angle = math.pi * torch.rand(n, generator=g)
        self.label = torch.randint(0, 2, (n,), generator=g)
        sign = 1 - 2.0 * self.label
        self.points = torch.stack([torch.cos(angle) * sign + self.label, torch.sin(angle) * sign + 0.5 * self.label], 1)
        self.points += 0.15 * torch.randn(n, 2, generator=g)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        return self.points[i], self.label[i]


def batches(loader):
    while True:
        yield from loader


def main():
    torch.manual_seed(1)
    loader = DataLoader(Moons(2048, seed=1), batch_size=128, shuffle=True, num_workers=1)
    test = Moons(500, seed=2)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for step in range(STEPS):
        points, label = next(iter(loader))  # fault: starts the worker again for each step
        loss = nn.functional.cross_entropy(model(points), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 7 == 6:
            with torch.no_grad():
                accuracy = (model(test.points).argmax(1) == test.label).float().mean().item()
            print(f"step {step + 1}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
