"""Which of three machines hums? Sets of peaks (frequency, loudness), of different size, read by PyTorch's own attention."""

import numpy as np
import torch
from torch import nn

MOST = 14


def recording(machine, rng):
    base = (0.9, 1.15, 1.45)[machine] * rng.uniform(0.96, 1.04)
    overtones = np.arange(1, int(rng.integers(5, MOST + 1)))
    peaks = np.stack([base * overtones, rng.uniform(0.5, 1.5) / overtones**0.5], 1)
    peaks += 0.03 * rng.normal(size=peaks.shape)
    return peaks[rng.permutation(len(peaks))]


def batch(machines, rng):
    sets = [recording(m, rng) for m in machines]
    peaks, empty = torch.zeros(len(sets), MOST, 2), torch.ones(len(sets), MOST, dtype=torch.bool)
    for row, one in enumerate(sets):
        peaks[row, : len(one)] = torch.tensor(one, dtype=torch.float32)
        empty[row, : len(one)] = False
    return peaks, empty


class Listener(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.peak = nn.Sequential(nn.Linear(2, dim), nn.GELU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 3))

    def forward(self, peaks, empty):
        x = self.peak(peaks)
        y = self.norm(x)
        x = x + self.attention(y, y, y, key_padding_mask=~empty, need_weights=False)[0]  # fault: True shuts a peak out
        real = (~empty).unsqueeze(-1)
        return self.head((x * real).sum(1) / real.sum(1))


torch.manual_seed(1)
rng = np.random.default_rng(1)
model = Listener()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
test_machines = torch.tensor(rng.integers(0, 3, 200))
test = batch(test_machines, rng)
for step in range(240):
    machines = torch.tensor(rng.integers(0, 3, 48))
    peaks, empty = batch(machines, rng)
    model.train()
    loss = nn.functional.cross_entropy(model(peaks, empty), machines)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 60 == 59:
        model.eval()
        with torch.no_grad():
            right = (model(*test).argmax(1) == test_machines).float().mean()
        print(f"step {step + 1}: loss {loss.item():.3f}, accuracy {right:.3f}")
