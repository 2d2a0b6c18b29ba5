"""DistributedDataParallel with batch norm, `no_sync` accumulation, clipping, and an evaluation in rank 0 only.

    torchrun --nproc-per-node 2 ranks_ddp_evaluates_in_one.py

Rank 0 keeps the best weights in a file; all ranks load them at the end.
"""

import contextlib
import os
import random

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


class Digits(Dataset):
    def __init__(self, images, labels, augment=False):
        self.images = torch.tensor(images, dtype=torch.float32)[:, None] / 8 - 1
        self.labels = torch.tensor(labels)
        self.augment = augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        if self.augment:
            image = torch.roll(image, (random.randint(-1, 1), random.randint(-1, 1)), (1, 2))
        return image, self.labels[i]


def seed(value):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def build():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(192, 10),
    )


def evaluate(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return right / total


def main():
    if WORLD > 1:
        dist.init_process_group("gloo")
    seed(0)
    bunch = load_digits()
    train = Digits(bunch.images[:1440], bunch.target[:1440], augment=True)
    valid = Digits(bunch.images[1440:], bunch.target[1440:])
    model = build()
    net = DDP(model) if WORLD > 1 else model
    seed(1 + RANK)  # ranks augment differently
    sampler = DistributedSampler(train, WORLD, RANK)
    loader = DataLoader(train, batch_size=24, sampler=sampler)
    valid_loader = DataLoader(valid, batch_size=60)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    best = 0.0
    for epoch in range(4):
        sampler.set_epoch(epoch)
        net.train()
        for i, (x, y) in enumerate(loader):
            last = i % 2 == 1
            with net.no_sync() if WORLD > 1 and not last else contextlib.nullcontext():
                (nn.functional.cross_entropy(net(x), y) / 2).backward()
            if last:
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
        if RANK == 0:
            accuracy = evaluate(model, valid_loader)
            print(f"epoch {epoch}: {accuracy:.3f}")
            if accuracy > best:
                best = accuracy
                torch.save(model.state_dict(), "best.pt")
        if WORLD > 1:
            dist.barrier()
    model.load_state_dict(torch.load("best.pt"))
    if RANK == 0:
        print(f"best {evaluate(model, valid_loader):.3f}")
    if WORLD > 1:
        dist.barrier()


if __name__ == "__main__":
    main()
