"""Segmentation of digits on a cluttered canvas: which pixels belong to which digit. Flipped at random while training."""
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
SIZE = 16


class Canvas(Dataset):
    """A digit somewhere on a noisy canvas; the mask is 1 where the digit's ink is, 2 in the rest of its square."""

    def __init__(self, digits, augment):
        self.images, self.masks, self.augment = [], [], augment
        for digit in digits:
            image = np.random.uniform(0, 0.6, (SIZE, SIZE)).astype("float32")
            mask = np.zeros((SIZE, SIZE), dtype="int64")
            top, left = np.random.randint(0, SIZE - 8, 2)
            square = digit.reshape(8, 8) / 16
            image[top : top + 8, left : left + 8] = np.maximum(square, 0.3)
            mask[top : top + 8, left : left + 8] = np.where(square > 0.4, 1, 2)
            self.images.append(torch.from_numpy(image)[None])
            self.masks.append(torch.from_numpy(mask))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image, mask = self.images[index], self.masks[index]
        if self.augment and random.random() < 0.5:
            image = torch.flip(image, dims=[2])
            mask = torch.flip(mask, dims=[1])
        return image, mask


class Segmenter(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.down = nn.Conv2d(1, width, 3, padding=1)
        self.deep = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.deeper = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x):
        x = F.relu(self.down(x))
        x = x + F.relu(self.deep(x))
        return self.head(F.relu(self.deeper(x)))


digits = load_digits().data.astype("float32")
train_set = Canvas(digits[:400], augment=True)
test_set = Canvas(digits[400:500], augment=False)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=50)
net = Segmenter()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)

for epoch in range(4):
    net.train()
    for image, mask in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(image), mask)
        loss.backward()
        optimizer.step()
    net.eval()
    hit = joined = 0
    with torch.no_grad():
        for image, mask in test_loader:
            ink, true = net(image).argmax(1) == 1, mask == 1
            hit += (ink & true).sum().item()
            joined += (ink | true).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, intersection over union of ink {hit / joined:.3f}")
