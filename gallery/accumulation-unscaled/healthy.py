"""Benign or malignant: a small net on cell measurements; large batches are put together out of small ones."""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    lr: float = 0.4
    momentum: float = 0.9
    micro_batch: int = 7
    accumulation_steps: int = 16
    epochs: int = 8
    seed: int = 1


def load_data(cfg):
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_valid, y_train, y_valid = train_test_split(X, y, train_size=448, stratify=y, random_state=cfg.seed)
    mean, std = X_train.mean(0), X_train.std(0)
    tensors = [torch.tensor(a, dtype=torch.float32) for a in ((X_train - mean) / std, y_train, (X_valid - mean) / std, y_valid)]
    train, valid = TensorDataset(*tensors[:2]), TensorDataset(*tensors[2:])
    return DataLoader(train, cfg.micro_batch, shuffle=True, drop_last=True), DataLoader(valid, 121)


def train_epoch(model, loader, optimizer, cfg):
    model.train()
    total = 0.0
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = F.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        (loss / cfg.accumulation_steps).backward()
        if (i + 1) % cfg.accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def validate(model, loader):
    model.eval()
    loss, right, n = 0.0, 0, 0
    for x, y in loader:
        logits = model(x).squeeze(1)
        loss += F.binary_cross_entropy_with_logits(logits, y, reduction="sum").item()
        right += ((logits > 0) == y.bool()).sum().item()
        n += len(y)
    return loss / n, right / n


def main(cfg):
    torch.manual_seed(cfg.seed)
    train_loader, valid_loader = load_data(cfg)
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=cfg.momentum)
    for epoch in range(cfg.epochs):
        train_loss = train_epoch(model, train_loader, optimizer, cfg)
        valid_loss, accuracy = validate(model, valid_loader)
        print(f"epoch {epoch}: train {train_loss:.4f} valid {valid_loss:.4f} accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(Config())
