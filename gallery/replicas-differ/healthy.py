"""Digits on several processes: torchrun --nproc-per-node 2 train.py (or python train.py for one)."""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Classifier(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(self.features(images))


def load():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16.0, dtype=torch.float32)
    images = (images - images[:1400].mean()) / images[:1400].std()
    labels = torch.tensor(labels)
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def main():
    distributed = "RANK" in os.environ
    if distributed:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if distributed else 0
    torch.manual_seed(0)
    train_set, valid_set = load()
    sampler = DistributedSampler(train_set, seed=1) if distributed else None
    loader = DataLoader(train_set, batch_size=50, sampler=sampler, shuffle=sampler is None)
    model = Classifier()
    net = DDP(model) if distributed else model
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    for epoch in range(5):
        if distributed:
            sampler.set_epoch(epoch)
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
        if rank == 0:
            model.eval()
            with torch.no_grad():
                predicted = torch.cat([model(x).argmax(1) for x, _ in DataLoader(valid_set, batch_size=200)])
            accuracy = (predicted == valid_set.tensors[1]).float().mean().item()
            print(f"epoch {epoch}: validation accuracy {accuracy:.3f}")
    if distributed:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
