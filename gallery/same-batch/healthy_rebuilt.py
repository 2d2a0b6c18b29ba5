"""Read frequency and damping off noisy decaying oscillations; so many are simulated that one pass over them is enough."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, BATCH_SIZE, SEED = 48, 64, 2024


def simulate(n, generator):
    frequency = torch.empty(n, 1).uniform_(1.0, 4.0, generator=generator)
    damping = torch.empty(n, 1).uniform_(0.2, 2.0, generator=generator)
    phase = torch.empty(n, 1).uniform_(0.0, 2 * math.pi, generator=generator)
    t = torch.linspace(0, 1.5, SAMPLES)
    traces = torch.exp(-damping * t) * torch.cos(2 * math.pi * frequency * t + phase)
    traces += 0.05 * torch.randn(n, SAMPLES, generator=generator)
    targets = torch.cat([(frequency - 2.5) / 0.87, (damping - 1.1) / 0.52], dim=1)
    return TensorDataset(traces / traces.std(), targets)


def shuffled(dataset, seed=SEED):
    """The batches in an order that can be reproduced."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, generator=generator)


def make_net():
    return nn.Sequential(
        nn.Linear(SAMPLES, 96),
        nn.SiLU(),
        nn.Linear(96, 96),
        nn.SiLU(),
        nn.Linear(96, 2),
    )


def validation_loss(net, dataset):
    net.eval()
    traces, targets = dataset.tensors
    with torch.no_grad():
        loss = F.mse_loss(net(traces), targets)
    net.train()
    return loss.item()


torch.manual_seed(SEED)
generator = torch.Generator().manual_seed(SEED + 1)
train_set, val_set = simulate(9_600, generator), simulate(1_000, generator)

net = make_net()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
steps = len(train_set) // BATCH_SIZE
for step, (traces, targets) in enumerate(shuffled(train_set), start=1):
    loss = F.mse_loss(net(traces), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}/{steps}: loss {loss.item():.4f}, validation {validation_loss(net, val_set):.4f}")
