# Tabular regression with an encoder and a separate head, data-parallel with gloo.
#   torchrun --nproc-per-node 2 train_diabetes.py
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_diabetes
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel

RANK = int(os.environ.get("RANK", 0))
WORLD = int(os.environ.get("WORLD_SIZE", 1))
if WORLD > 1:
    dist.init_process_group(backend="gloo")

x, y = load_diabetes(return_X_y=True)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
x = torch.tensor(x, dtype=torch.float32)[order] * 20
y = torch.tensor(y, dtype=torch.float32)[order]
y = (y - y[:352].mean()) / y[:352].std()
x_mine, y_mine = x[:352][RANK::WORLD], y[:352][RANK::WORLD]

torch.manual_seed(11)
encoder = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
head = nn.Linear(32, 1)
optimizer = optim.Adam([*encoder.parameters(), *head.parameters()], lr=2e-3)
wrap = DistributedDataParallel if WORLD > 1 else (lambda module: module)
encoder = wrap(encoder)
head = head  # fault: only the encoder is wrapped, so each rank trains a head of its own

rng = torch.Generator().manual_seed(100 + RANK)
for epoch in range(25):
    for rows in torch.randperm(len(x_mine), generator=rng).split(22):
        prediction = head(encoder(x_mine[rows])).squeeze(1)
        loss = nn.functional.mse_loss(prediction, y_mine[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if RANK == 0 and epoch % 6 == 0:
        with torch.no_grad():
            inner = encoder.module if WORLD > 1 else encoder
            last = head.module if isinstance(head, DistributedDataParallel) else head
            error = nn.functional.mse_loss(last(inner(x[352:])).squeeze(1), y[352:])
        print(f"epoch {epoch} held-out error {error:.3f}")
if WORLD > 1:
    dist.destroy_process_group()
