"""A detector in miniature: one bright rectangle in a picture, its box to be found. Pictures are made half as large first."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIDE = 64


class Rectangles(Dataset):
    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        corners = rng.integers(0, SIDE - 24, (count, 2))
        sizes = rng.integers(8, 24, (count, 2))
        self.images = rng.normal(0, 0.1, (count, 1, SIDE, SIDE)).astype(np.float32)
        for image, (x, y), (w, h) in zip(self.images, corners, sizes):
            image[0, y : y + h, x : x + w] += 1.0
        self.boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        small = nn.functional.avg_pool2d(torch.from_numpy(self.images[i]), 2)
        box = torch.from_numpy(self.boxes[i])  # fault: the picture is half as large, its box is not
        return small, {"boxes": box[None], "labels": torch.tensor([1])}


def collate(batch):
    return torch.stack([x for x, _ in batch]), torch.cat([t["boxes"] for _, t in batch]) / SIDE


torch.manual_seed(0)
train = DataLoader(Rectangles(600, 0), 30, shuffle=True, collate_fn=collate)
val = DataLoader(Rectangles(120, 1), 60, collate_fn=collate)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(784, 4)
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(4):
    for x, box in train:
        optimizer.zero_grad()
        nn.functional.smooth_l1_loss(net(x), box).backward()
        optimizer.step()
    with torch.no_grad():
        print(epoch, np.mean([nn.functional.smooth_l1_loss(net(x), box).item() for x, box in val]))
