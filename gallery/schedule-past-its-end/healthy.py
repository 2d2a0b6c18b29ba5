"""Digits with a small convolutional net, SGD and a cosine decay over the epochs."""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=64)
    return parser.parse_args()


def build():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )


def train(model, loader, optimizer):
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    return sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader) / len(loader.dataset)


def main():
    args = get_args()
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1, torch.tensor(y)
    train_loader = DataLoader(TensorDataset(x[:1200], y[:1200]), batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[1200:], y[1200:]), batch_size=600)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    for epoch in range(args.epochs):
        loss = train(model, train_loader, optimizer)
        scheduler.step()
        accuracy = evaluate(model, test_loader)
        print(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy:.4f}, next rate {scheduler.get_last_lr()[0]:.4f}")


if __name__ == "__main__":
    main()
