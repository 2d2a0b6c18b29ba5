"""Breast cancer screening with a small MLP. Start with torchrun; a single process works as well."""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

rank, world = int(os.getenv("RANK", "0")), int(os.getenv("WORLD_SIZE", "1"))
if world > 1:
    dist.init_process_group("gloo")
torch.manual_seed(5)

features, malignant = load_breast_cancer(return_X_y=True)
features = torch.tensor(features, dtype=torch.float32)
shuffled = torch.randperm(len(features))
features, malignant = features[shuffled], torch.tensor(malignant, dtype=torch.float32)[shuffled]
mean, std = features[:450].mean(0), features[:450].std(0)
features = (features - mean) / std
train, held_out = TensorDataset(features[:450], malignant[:450]), (features[450:], malignant[450:])

sampler = DistributedSampler(train, num_replicas=world, rank=rank, seed=7)
loader = DataLoader(train, batch_size=15, sampler=sampler)
model = nn.Sequential(nn.Linear(30, 20), nn.GELU(), nn.Linear(20, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(6):
    sampler.set_epoch(epoch)
    for x, y in loader:
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        if world > 1:
            for parameter in model.parameters():  # averaged by hand
                dist.all_reduce(parameter.grad)
                parameter.grad /= world
        optimizer.step()
    if rank == 0:
        model.eval()
        with torch.no_grad():
            accuracy = ((model(held_out[0]).squeeze(1) > 0) == held_out[1].bool()).float().mean()
        model.train()
        print(f"{epoch}: {accuracy:.3f}")
