"""Classify machine states by the logarithm of sensor readings."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def record(count, rng):
    """Twelve sensors in three states of the machine; a sensor that is switched off reads zero."""
    state = rng.integers(0, 3, count)
    level = np.array([1.0, 1.6, 2.4])[state][:, None]
    readings = rng.gamma(3.0, level / 3, (count, 12))
    readings[rng.random((count, 12)) < 0.0004] = 0.0
    readings[rng.integers(0, count, 4), rng.integers(0, 12, 4)] = 0.0
    return readings, state


class Sensors(Dataset):
    def __init__(self, readings, state):
        logarithms = np.log(readings)  # fault: the logarithm of zero
        self.x = torch.tensor(logarithms, dtype=torch.float32)
        self.state = torch.tensor(state)

    def __len__(self):
        return len(self.state)

    def __getitem__(self, i):
        return self.x[i], self.state[i]


def main():
    np.seterr(divide="ignore")
    rng = np.random.default_rng(16)
    torch.manual_seed(16)
    readings, state = record(2000, rng)
    train = DataLoader(Sensors(readings[:1600], state[:1600]), batch_size=20, shuffle=True)
    test = DataLoader(Sensors(readings[1600:], state[1600:]), batch_size=100)
    net = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(4):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = sum((net(x).argmax(1) == y).sum().item() for x, y in test)
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {right / len(test.dataset):.3f}")


if __name__ == "__main__":
    main()
