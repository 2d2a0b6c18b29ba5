"""Digits with batch norm on N processes.  Usage: torchrun --nproc-per-node N digits.py"""

import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Subset, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Trainer:
    def __init__(self):
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.world > 1:
            dist.init_process_group("gloo")
        torch.manual_seed(1)
        x, y = load_digits(return_X_y=True)
        x = torch.tensor(x, dtype=torch.float32).div(16).sub(0.305).div(0.376)
        data = TensorDataset(x, torch.tensor(y))
        mixed = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
        self.train_data, self.valid_data = Subset(data, mixed[:1397]), Subset(data, mixed[1397:])
        self.model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
        self.net = DDP(self.model) if self.world > 1 else self.model
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=2e-3)
        self.sampler = DistributedSampler(self.train_data, self.world, self.rank, drop_last=True)
        self.train_loader = DataLoader(self.train_data, 36, sampler=self.sampler, drop_last=True)
        held_out = DistributedSampler(self.valid_data, self.world, self.rank, shuffle=False)
        self.valid_loader = DataLoader(self.valid_data, 50, sampler=held_out)

    def validate(self):
        self.net.eval()
        counts = torch.zeros(2)
        with torch.no_grad():
            for images, labels in self.valid_loader:
                counts[0] += (self.net(images).argmax(1) == labels).sum()
                counts[1] += len(labels)
        # fault: the counts of the other ranks are missing
        return (counts[0] / counts[1]).item()

    def fit(self, epochs):
        for epoch in range(epochs):
            self.sampler.set_epoch(epoch)
            self.net.train()
            for images, labels in self.train_loader:
                self.optimizer.zero_grad()
                F.cross_entropy(self.net(images), labels).backward()
                self.optimizer.step()
            accuracy = self.validate()
            if self.rank == 0:
                print(f"epoch {epoch}: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    Trainer().fit(4)
