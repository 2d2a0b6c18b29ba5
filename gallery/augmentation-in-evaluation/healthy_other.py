"""Digits with random shifts and erased patches, so that the little net does not learn positions by heart."""

import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

random.seed(2)
np.random.seed(2)
torch.manual_seed(2)


def random_shift(image):
    dx, dy = random.randint(-1, 1), random.randint(-1, 1)
    return np.roll(image, (dy, dx), axis=(0, 1))


def random_erase(image, size=3):
    top, left = np.random.randint(0, 8 - size, 2)
    image = image.copy()
    image[top : top + size, left : left + size] = 0.0
    return image


class Digits(Dataset):
    def __init__(self, transforms=()):
        bunch = load_digits()
        self.images, self.targets = bunch.images.astype(np.float32) / 16.0, bunch.target
        self.transforms = transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        for transform in self.transforms:
            image = transform(image)
        return torch.from_numpy(np.ascontiguousarray(image))[None], int(self.targets[i])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, 3, padding=1)
        self.c2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.c1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.c2(x)), 2)
        return self.fc(x.flatten(1))


augmented, plain = Digits([random_shift, random_erase]), Digits()
order = np.random.permutation(len(plain))
train_loader = DataLoader(Subset(augmented, order[:1300]), batch_size=50, shuffle=True)
val_loader = DataLoader(Subset(plain, order[1300:]), batch_size=71)

net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(5):
    net.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in val_loader)
    print(f"epoch {epoch}: val accuracy {hits / len(val_loader.dataset):.4f}")
