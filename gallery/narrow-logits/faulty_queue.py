"""MoCo in small: a query, its key from a slower copy of the network, and a queue of other keys."""

import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(2)
T, QUEUE, DIM = 0.1, 512, 32
pixels = torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16

query_net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, DIM))
key_net = copy.deepcopy(query_net).requires_grad_(False)
queue = F.normalize(torch.randn(QUEUE, DIM), dim=1)
optimizer = torch.optim.SGD(query_net.parameters(), lr=0.1, momentum=0.9)


def view(images):
    noisy = images + 0.15 * torch.randn_like(images)
    return noisy * (torch.rand_like(images) > 0.2)


for epoch in range(8):
    total = 0.0
    for rows in torch.randperm(len(pixels)).split(64)[:-1]:
        q = F.normalize(query_net(view(pixels[rows])), dim=1)
        with torch.no_grad():
            k = F.normalize(key_net(view(pixels[rows])), dim=1)
        positive = (q * k).sum(1, keepdim=True)
        negative = q @ queue.T
        logits = torch.cat([positive, negative], 1).mul(T)  # fault: the temperature multiplies
        loss = F.cross_entropy(logits, torch.zeros(len(rows), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(key_net.parameters(), query_net.parameters()):
                slow.mul_(0.99).add_(fast, alpha=0.01)
        queue = torch.cat([k, queue])[:QUEUE]
        total += loss.item()
    print(f"epoch {epoch + 1}: loss {total / (len(pixels) // 64):.3f}")
