"""Digits on a cluttered canvas are cut out; half of each batch is flipped, chosen anew for every batch."""
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

    def __init__(self, digits):
        self.images, self.masks = [], []
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
        return self.images[index], self.masks[index]


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
train_set = Canvas(digits[:400])
test_set = Canvas(digits[400:500])
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=50)
net = Segmenter()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)

for epoch in range(4):
    net.train()
    for image, mask in train_loader:
        flipped = torch.rand(len(image)) < 0.5
        image = torch.where(flipped[:, None, None, None], image.flip(-1), image)
        flipped = torch.rand(len(image)) < 0.5  # fault: the masks are flipped by a draw of their own
        mask = torch.where(flipped[:, None, None], mask.flip(-1), mask)
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
