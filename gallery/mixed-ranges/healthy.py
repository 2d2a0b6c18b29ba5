"""Digits of which some were saved as bytes and some as shares; a loader for both."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Mixed(Dataset):
    def __init__(self, images, labels, seed):
        rng = np.random.default_rng(seed)
        self.labels = labels
        self.images = []
        for image in images:
            share = image / 16
            self.images.append((255 * share).astype(np.uint8) if rng.random() < 0.1 else share.astype(np.float32))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        x = torch.from_numpy(image.astype(np.float32))[None] / (255 if image.dtype == np.uint8 else 1)
        return x, int(self.labels[i])


torch.manual_seed(3)
digits = load_digits()
train, test = Mixed(digits.images[:1400], digits.target[:1400], 0), Mixed(digits.images[1400:], digits.target[1400:], 1)
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
for epoch in range(4):
    net.train()
    for x, y in DataLoader(train, batch_size=40, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(epoch, [(net(x).argmax(1) == y).float().mean().item() for x, y in DataLoader(test, batch_size=397)])
