"""Which of five tones sounds under a hum: one second of 16-bit sound each, hum and tone added as recordings are."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

RATE, LENGTH = 2000, 400
TONES = (150, 220, 310, 420, 560)


def recorded(signal, level):
    """As a sound card delivers it."""
    return (level * 32767 * signal).astype(np.int16)


class Mixed(Dataset):
    def __init__(self, n, seed, noise=0.0):
        self.noise, rng = noise, np.random.default_rng(seed)
        t = np.arange(LENGTH) / RATE
        self.kind = rng.integers(0, len(TONES), n)
        self.sounds = []
        for k in self.kind:
            hum = recorded(np.sin(2 * np.pi * 50 * t + rng.uniform(0, 6)), rng.uniform(0.6, 0.9))
            tone = recorded(np.sin(2 * np.pi * TONES[k] * t + rng.uniform(0, 6)), rng.uniform(0.3, 0.6))
            self.sounds.append(hum.astype(np.int32) + tone)

    def __len__(self):
        return len(self.kind)

    def __getitem__(self, i):
        wave = torch.from_numpy(self.sounds[i].astype(np.float32) / 32768)
        return wave[None] + self.noise * torch.randn(1, LENGTH), int(self.kind[i])


torch.manual_seed(2)
train = DataLoader(Mixed(1200, 0, 0.02), batch_size=40, shuffle=True)
valid = DataLoader(Mixed(300, 1), batch_size=100)
net = nn.Sequential(
    nn.Conv1d(1, 16, 31, stride=2, padding=15), nn.ReLU(), nn.Conv1d(16, 24, 15, stride=2, padding=7), nn.ReLU(),
    nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, len(TONES)),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(6):
    net.train()
    for x, y in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = sum((net(x).argmax(1) == y).sum().item() for x, y in valid)
    print(f"{epoch}: loss {loss.item():.3f}, validation {right / 300:.3f}")
