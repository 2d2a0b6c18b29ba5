"""Train a fully connected network to read handwritten digits (8x8 pixels)."""
import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class DigitNet(nn.Module):
    def __init__(self, hidden, classes=10):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def get_loaders(batch_size, seed):
    images, labels = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(
        images / 16.0, labels, test_size=0.2, stratify=labels, random_state=seed
    )
    mean, std = x_train.mean(), x_train.std()

    def to_dataset(x, y):
        x = torch.tensor((x - mean) / std, dtype=torch.float32)
        return TensorDataset(x, torch.tensor(y, dtype=torch.long))

    train_loader = DataLoader(to_dataset(x_train, y_train), batch_size=batch_size, shuffle=True)
    val_loader = DataLoader(to_dataset(x_val, y_val), batch_size=256)
    return train_loader, val_loader


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    total, seen = 0.0, 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
        seen += len(y)
    return total / seen


@torch.no_grad()
def evaluate(model, loader, criterion):
    model.eval()
    total, correct, seen = 0.0, 0, 0
    for x, y in loader:
        output = model(x)
        total += criterion(output, y).item() * len(y)
        correct += (output.argmax(dim=1) == y).sum().item()
        seen += len(y)
    return total / seen, correct / seen


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train_loader, val_loader = get_loaders(args.batch_size, args.seed)
    model = DigitNet(args.hidden)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    for epoch in range(1, args.epochs + 1):
        train_loss = train_epoch(model, train_loader, criterion, optimizer)
        val_loss, val_acc = evaluate(model, val_loader, criterion)
        print(f"epoch {epoch:2d}  train loss {train_loss:.4f}  val loss {val_loss:.4f}  val acc {val_acc:.4f}")
    print(f"final val accuracy {val_acc:.4f}, val loss {val_loss:.4f}")


if __name__ == "__main__":
    main()
