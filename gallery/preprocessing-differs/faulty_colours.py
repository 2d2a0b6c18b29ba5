"""Ripe, unripe or rotten: small pictures of fruit from a camera driver that gives blue first, as arrays of bytes."""

import numpy as np
import torch
from torch import nn

KINDS = {"ripe": (200, 60, 40), "unripe": (90, 170, 60), "rotten": (110, 80, 50)}


def grab(count, rng):
    """Frames as the driver gives them: (count, 16, 16, 3), blue, green, red."""
    kinds = rng.integers(0, 3, count)
    frames = np.empty((count, 16, 16, 3))
    row, column = np.mgrid[:16, :16]
    for i, k in enumerate(kinds):
        frames[i] = np.array([70, 105, 150]) + rng.normal(0, 8, 3)
        cy, cx, r = *rng.uniform(6, 10, 2), rng.uniform(3, 5)
        inside = (row - cy) ** 2 + (column - cx) ** 2 < r**2
        frames[i][inside] = np.array(list(KINDS.values())[k]) + rng.normal(0, 18, 3)
    frames += rng.normal(0, 10, frames.shape)
    return frames.clip(0, 255).astype(np.uint8)[..., ::-1], kinds


def prepare(frames):
    pictures = frames[..., ::-1].astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).sub(0.5).div(0.25)


def evaluate(net, frames, kinds):
    pictures = frames.astype(np.float32) / 255  # fault: blue stays first, as it does not in prepare()
    x = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).sub(0.5).div(0.25)
    net.eval()
    with torch.no_grad():
        right = net(x).argmax(1) == torch.as_tensor(kinds)
    net.train()
    return right.float().mean().item()


rng = np.random.default_rng(3)
torch.manual_seed(3)
frames, kinds = grab(480, rng)
valid_frames, valid_kinds = grab(160, rng)
x, y = prepare(frames), torch.as_tensor(kinds)
net = nn.Sequential(
    nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3),
)
optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(8):
    total = 0.0
    for rows in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    print(f"epoch {epoch:2d}  loss {total / len(x):.3f}  validation {evaluate(net, valid_frames, valid_kinds):.3f}")
