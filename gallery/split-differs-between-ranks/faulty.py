"""Fine classifier for digits; every process makes its own split.  torchrun --nproc-per-node 2 train.py"""

import argparse
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset, random_split
from torch.utils.data.distributed import DistributedSampler


def setup(seed):
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(seed + rank)  # ranks augment differently
    return rank, world


def digits():
    x, y = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(x, dtype=torch.float32) / 16 - 0.3, torch.tensor(y))


def augment(images):
    return images + 0.05 * torch.randn_like(images)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        hits = [(model(x).argmax(1) == y).float() for x, y in loader]
    model.train()
    return torch.cat(hits).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    rank, world = setup(seed=20)
    data = digits()
    split = torch.default_generator  # fault: seeded with the rank, so each rank holds out other examples
    train, valid = random_split(data, [1440, len(data) - 1440], generator=split)
    sampler = DistributedSampler(train, num_replicas=world, rank=rank)
    train_loader = DataLoader(train, batch_size=30, sampler=sampler)
    valid_loader = DataLoader(valid, batch_size=120)
    core = nn.Sequential(nn.Linear(64, 80), nn.ReLU(), nn.Linear(80, 10))
    model = DistributedDataParallel(core) if world > 1 else core
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(augment(x)), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        score = accuracy(core, valid_loader)
        if rank == 0:
            print(f"epoch {epoch} valid {score:.3f}")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
