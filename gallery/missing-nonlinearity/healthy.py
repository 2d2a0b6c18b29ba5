"""Two interleaved spirals: a small multilayer perceptron with batch norm has to tell them apart."""
import argparse
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    """Linear layer, batch norm, activation."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.fc = nn.Linear(n_in, n_out)
        self.norm = nn.BatchNorm1d(n_out)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.fc(x)))


class Classifier(nn.Module):
    def __init__(self, width=48, depth=3):
        super().__init__()
        widths = [2] + [width] * depth
        self.body = nn.Sequential(*[Block(a, b) for a, b in zip(widths, widths[1:])])
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.body(x))


def spirals(n, noise=0.08):
    radius = torch.rand(n).sqrt()
    arm = torch.arange(n) % 2
    angle = 2 * math.pi * radius + math.pi * arm
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points * 2 + noise * torch.randn(n, 2), arm


def evaluate(model, loader):
    model.eval()
    hits = total = 0
    with torch.no_grad():
        for x, y in loader:
            hits += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return hits / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    torch.manual_seed(3)

    train = DataLoader(TensorDataset(*spirals(1600)), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(*spirals(400)), batch_size=200)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1:2d}  loss {loss.item():.3f}  val accuracy {evaluate(model, val):.3f}")


if __name__ == "__main__":
    main()
