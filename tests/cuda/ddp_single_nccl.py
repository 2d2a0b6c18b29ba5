#!/usr/bin/env python
"""Breast-cancer classification with DistributedDataParallel and NCCL; started without torchrun it is a group of one."""

import os
import tempfile

import torch
import torch.distributed as dist
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def setup():
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    init_method = "env://" if world_size > 1 else f"file://{tempfile.mkdtemp()}/rendezvous"
    torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl", init_method=init_method, rank=rank, world_size=world_size)
    return rank, world_size, torch.device("cuda", local_rank)


def get_data():
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    scaler = StandardScaler().fit(X_train)

    def as_dataset(X, y):
        return TensorDataset(torch.tensor(scaler.transform(X)).float(), torch.tensor(y).float())

    return as_dataset(X_train, y_train), as_dataset(X_val, y_val)


@torch.no_grad()
def validate(model, dataset, device):
    model.eval()
    inputs, targets = (t.to(device) for t in dataset.tensors)
    logits = model(inputs).squeeze(1)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    accuracy = ((logits > 0).float() == targets).float().mean()
    return loss.item(), accuracy.item()


def main():
    rank, world_size, device = setup()
    torch.manual_seed(100 + rank)
    train_data, val_data = get_data()
    sampler = DistributedSampler(train_data, num_replicas=world_size, rank=rank, shuffle=True, seed=0)
    loader = DataLoader(train_data, batch_size=32, sampler=sampler, pin_memory=True)

    model = nn.Sequential(nn.Linear(30, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))
    model = DDP(model.to(device), device_ids=[device.index])
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    for epoch in range(8):
        sampler.set_epoch(epoch)
        model.train()
        total = torch.zeros(2, device=device)
        for inputs, targets in loader:
            inputs, targets = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = criterion(model(inputs).squeeze(1), targets)
            loss.backward()
            optimizer.step()
            total += torch.stack([loss.detach() * len(inputs), torch.tensor(float(len(inputs)), device=device)])
        dist.all_reduce(total)
        if rank == 0:
            val_loss, val_acc = validate(model.module, val_data, device)
            train_loss = (total[0] / total[1]).item()
            print(f"epoch {epoch + 1}: train loss {train_loss:.4f}, val loss {val_loss:.4f}, val acc {val_acc:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
