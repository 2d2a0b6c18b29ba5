"""Two of everything that torchrun starts, without DistributedDataParallel: weights are sent once, gradients averaged by hand.

    torchrun --nproc-per-node 2 ranks_manual_averaging.py

Every rank evaluates all validation data, each rank has a seed of its own, gradients are accumulated over two batches.
"""

import os

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn


def start():
    if "RANK" not in os.environ:
        return 0, 1
    dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def share(model, world):
    """All ranks begin with the weights of rank 0."""
    if world > 1:
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)


def average(model, world):
    """One exchange for all gradients in one piece."""
    if world == 1:
        return
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    dist.all_reduce(flat)
    start = 0
    for parameter in model.parameters():
        count = parameter.numel()
        parameter.grad.copy_(flat[start : start + count].view_as(parameter) / world)
        start += count


def batches(images, labels, rng, size):
    order = rng.permutation(len(images))
    for first in range(0, len(order) - size + 1, size):
        rows = order[first : first + size]
        noisy = images[rows] + 0.1 * rng.standard_normal(images[rows].shape)
        yield torch.tensor(noisy, dtype=torch.float32), torch.tensor(labels[rows])


rank, world = start()
rng = np.random.default_rng(100 + rank)
torch.manual_seed(rank)
images, labels = load_digits(return_X_y=True)
images = images / 8 - 1
mine = slice(rank, 1400, world)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
share(model, world)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
valid = torch.tensor(images[1400:], dtype=torch.float32), torch.tensor(labels[1400:])

for epoch in range(8):
    model.train()
    for number, (x, y) in enumerate(batches(images[mine], labels[mine], rng, 25)):
        loss = nn.functional.cross_entropy(model(x), y) / 2
        loss.backward()
        if number % 2:
            average(model, world)
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        accuracy = (model(valid[0]).argmax(1) == valid[1]).float().mean().item()
    if rank == 0:
        print(f"epoch {epoch}: accuracy {accuracy:.3f}")
