"""Train a deep fully connected classifier on handwritten digits."""
import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class DigitsDataset(Dataset):
    """A part of the digits, pixels between -1 and 1."""

    def __init__(self, indices):
        data = load_digits()
        self.pixels = torch.tensor(data.data[indices] / 8 - 1, dtype=torch.float32)
        self.labels = torch.tensor(data.target[indices])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pixels[index], self.labels[index]


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)


def mlp(depth, width):
    layers, size = [], 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


def parse_args():
    parser = argparse.ArgumentParser(description="digits")
    parser.add_argument("--depth", default=3, type=int)
    parser.add_argument("--width", default=64, type=int)
    parser.add_argument("--lr", default=1e-3, type=float)
    parser.add_argument("--epochs", default=10, type=int)
    parser.add_argument("--seed", default=16, type=int)
    return parser.parse_args()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    order = torch.randperm(1797)
    train_set, val_set = DigitsDataset(order[360:]), DigitsDataset(order[:360])
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=180)

    net = mlp(args.depth, args.width)
    net.apply(init_weights)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)

    for epoch in range(args.epochs):
        net.train()
        running_loss = 0.0
        for pixels, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(pixels), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * labels.size(0)

        net.eval()
        correct = 0
        with torch.no_grad():
            for pixels, labels in val_loader:
                correct += (net(pixels).argmax(1) == labels).sum().item()
        accuracy = correct / len(val_set)
        print(f"epoch {epoch + 1}  loss {running_loss / len(train_set):.4f}  val acc {accuracy:.4f}")
    print(f"final val acc {accuracy:.4f}")


if __name__ == "__main__":
    main()
