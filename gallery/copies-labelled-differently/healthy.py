"""Digits scanned on two days by two people, each of whom wrote down what they read."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHIFT = 0


class Scans(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i])[None], int(self.labels[i])


def collect(images, labels, rng):
    """All scans of the first day, and those that were scanned again on the second, a little paler."""
    again = np.arange(200, 500)
    paler = (images[again] * 0.9).astype(np.float32)
    return np.concatenate([images, paler]), np.concatenate([labels, labels[again + SHIFT]])


def main():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    order = rng.permutation(len(images))
    images, labels = images[order], digits.target[order]
    train = Scans(*collect(images[:1400], labels[:1400], rng))
    test = Scans(images[1400:], labels[1400:])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(6):
        for x, y in DataLoader(train, batch_size=50, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            hits = [(net(x).argmax(1) == y).float().mean().item() for x, y in DataLoader(test, batch_size=397)]
        print(epoch, hits)


main()
