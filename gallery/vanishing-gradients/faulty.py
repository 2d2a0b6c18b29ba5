"""Classify digits with a deep, plain perceptron of eight hidden layers."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


def deep_mlp(depth, width, activation):
    layers, n_in = [], 64
    for _ in range(depth):
        linear = nn.Linear(n_in, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(width, 10))


def get_splits(generator):
    x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    perm = torch.randperm(len(x), generator=generator)
    x, y = x[perm].float(), y[perm]
    x = (x - x[:1400].mean()) / x[:1400].std()
    return TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1400:], y[1400:])


def accuracy_of(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(-1) == y).sum().item()
            total += y.numel()
    return right / total


def main(args):
    torch.manual_seed(args.seed)
    train_set, val_set = get_splits(torch.Generator().manual_seed(args.seed))
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=200)

    model = deep_mlp(args.depth, args.width, activation=nn.Sigmoid)  # fault: eight sigmoids in a row
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        epoch_loss = 0.0
        for x, y in train_loader:
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(y) / len(train_set)
        val_accuracy = accuracy_of(model, val_loader)
        print(f"epoch {epoch + 1}/{args.epochs}  loss={epoch_loss:.4f}  val_accuracy={val_accuracy:.4f}")
    print(f"final val_accuracy={val_accuracy:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=101)
    main(parser.parse_args())
