"""Wine cultivars, trained on several CPU processes with DistributedDataParallel.

torchrun --nproc-per-node 2 wine.py
"""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

PARALLEL = "WORLD_SIZE" in os.environ


class Wine(Dataset):
    def __init__(self, rows, cultivars):
        self.rows = torch.as_tensor(rows, dtype=torch.float32)
        self.cultivars = torch.as_tensor(cultivars)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"features": self.rows[index], "label": self.cultivars[index]}


def evaluate(model, dataset):
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in DataLoader(dataset, batch_size=16):
            right += (model(batch["features"]).argmax(dim=1) == batch["label"]).sum().item()
    model.train()
    return right / len(dataset)


def main():
    if PARALLEL:
        dist.init_process_group("gloo")
    torch.manual_seed(42)
    x, y = load_wine(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    scaler = StandardScaler().fit(x)
    train, test = Wine(scaler.transform(x), y), Wine(scaler.transform(x_test), y_test)
    model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 3))
    ddp = DistributedDataParallel(model) if PARALLEL else model
    optimizer = torch.optim.AdamW(ddp.parameters(), lr=5e-3)
    sampler = DistributedSampler(train) if PARALLEL else None
    loader = DataLoader(train, batch_size=8, sampler=sampler, shuffle=sampler is None)
    for epoch in range(8):
        if sampler is not None:
            sampler.set_epoch(epoch)
        for batch in loader:
            loss = nn.functional.cross_entropy(ddp(batch["features"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = evaluate(model, test)
        if not PARALLEL or dist.get_rank() == 0:
            print(f"epoch {epoch}  test accuracy {accuracy:.3f}")
    if PARALLEL:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
