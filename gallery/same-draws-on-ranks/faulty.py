"""Digit images with random shifts and noise, data-parallel.

torchrun --nproc-per-node 2 shifts.py
"""

import os
import random

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Shifted(Dataset):
    """Images that are shifted by up to one pixel, with some noise."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = np.roll(self.images[index], (random.randint(-1, 1), random.randint(-1, 1)), axis=(0, 1))
        image = image + 0.1 * np.random.randn(8, 8)
        return torch.tensor(image, dtype=torch.float32)[None], int(self.labels[index])


def main():
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    seed_everything(0)
    bunch = load_digits()
    images = (bunch.images / 16 - 0.3) / 0.38
    train = Shifted(images[:1200], bunch.target[:1200])
    x_test = torch.tensor(images[1200:], dtype=torch.float32)[:, None]
    y_test = torch.tensor(bunch.target[1200:])
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10))
    net = DistributedDataParallel(model) if world > 1 else model
    seed_everything(0)  # fault: once more, and equal in all ranks, so they shift and perturb alike
    sampler = DistributedSampler(train, num_replicas=world, rank=rank)
    loader = DataLoader(train, batch_size=40, sampler=sampler)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        model.train()
        for x, y in loader:
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
        if rank == 0:
            print(f"epoch {epoch}: {accuracy:.3f}")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
