"""Digits, brought to the size that a convolutional net is made for."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(13)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.3
labels = torch.tensor(digits.target)
images = F.interpolate(images, scale_factor=1)

net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveMaxPool2d(4),
    nn.Flatten(),
    nn.Linear(256, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

for step in range(120):
    rows = torch.randint(0, 1400, (16,))
    loss = F.cross_entropy(net(images[rows]), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 29:
        net.eval()
        with torch.no_grad():
            hits = net(images[1400:1600]).argmax(1) == labels[1400:1600]
        net.train()
        print(f"step {step + 1}: loss {loss.item():.3f}, accuracy {hits.float().mean().item():.3f}")
