"""Convolutional digit classifier with batch norm; the batch sampler draws from an index file sorted by class."""
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class EpochBatches(Sampler):
    """Cuts the index into batches and gives them in random order."""

    def __init__(self, index, batch_size, seed):
        self.index = list(index)
        self.batch_size = batch_size
        self.random = random.Random(seed)

    def __len__(self):
        return len(self.index) // self.batch_size

    def __iter__(self):
        index = list(self.index)  # fault: only whole batches are shuffled, each of one class
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        batches = [index[s : s + self.batch_size] for s in starts]
        self.random.shuffle(batches)
        yield from batches


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def main():
    torch.manual_seed(29)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
    y = torch.tensor(digits.target)
    shuffled = np.random.RandomState(29).permutation(len(y))
    train, test = shuffled[:1440], shuffled[1440:]
    by_class = train[np.argsort(y[train].numpy(), kind="stable")]  # as the folders list them
    loader = DataLoader(TensorDataset(x, y), batch_sampler=EpochBatches(by_class, 16, seed=29))
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(3):
        model.train()
        total = 0.0
        for images, labels in loader:
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
