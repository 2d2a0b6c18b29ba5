"""Classify digits with a two-layer perceptron trained on a random part of the images."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

SEED = 9
N_TRAIN = 1400
N_VAL = 600  # fault: 1400 + 600 is more than 1797


class Digits:
    """The data set, its split and its loaders."""

    def __init__(self, batch_size):
        pixels, labels = load_digits(return_X_y=True)
        perm = np.random.RandomState(SEED).permutation(len(pixels))
        train_idx, val_idx = perm[:N_TRAIN], perm[-N_VAL:]
        mean, std = pixels[train_idx].mean(), pixels[train_idx].std()
        dataset = TensorDataset(
            torch.tensor((pixels - mean) / std, dtype=torch.float32),
            torch.tensor(labels),
        )
        self.train = DataLoader(Subset(dataset, train_idx), batch_size=batch_size, shuffle=True)
        self.val = DataLoader(Subset(dataset, val_idx), batch_size=batch_size)


class Perceptron(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.l1 = nn.Linear(64, hidden)
        self.l2 = nn.Linear(hidden, hidden)
        self.l3 = nn.Linear(hidden, 10)

    def forward(self, x):
        h = torch.relu(self.l1(x))
        h = torch.relu(self.l2(h))
        return self.l3(h)


class Meter:
    """Running average of a quantity, weighted by batch size."""

    def __init__(self):
        self.total, self.weight = 0.0, 0

    def add(self, value, weight):
        self.total += value * weight
        self.weight += weight

    @property
    def value(self):
        return self.total / self.weight


def one_pass(model, loader, criterion, optimizer=None):
    training = optimizer is not None
    model.train(training)
    loss_meter, accuracy_meter = Meter(), Meter()
    with torch.set_grad_enabled(training):
        for x, y in loader:
            out = model(x)
            loss = criterion(out, y)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss_meter.add(loss.item(), len(y))
            accuracy_meter.add((out.argmax(1) == y).float().mean().item(), len(y))
    return loss_meter.value, accuracy_meter.value


def main():
    torch.manual_seed(SEED)
    digits = Digits(batch_size=35)
    model = Perceptron(hidden=64)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    for epoch in range(10):
        train_loss, train_acc = one_pass(model, digits.train, criterion, optimizer)
        val_loss, val_acc = one_pass(model, digits.val, criterion)
        print(
            f"epoch {epoch}: train loss {train_loss:.4f} acc {train_acc:.4f}"
            f" | val loss {val_loss:.4f} acc {val_acc:.4f}"
        )
    print(f"final val loss {val_loss:.4f} acc {val_acc:.4f}")


if __name__ == "__main__":
    main()
