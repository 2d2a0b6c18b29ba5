"""Tell by a small patch, in the 16 greys of an e-paper display, which of two photographs it was cut from."""

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(29)
rng = np.random.default_rng(29)
SIZE, PER_PHOTO = 16, 300


def cut(photo, n, left, right):
    """Patches with something on them, not the plain sky or the black ground."""
    patches = []
    while len(patches) < n:
        row, column = rng.integers(photo.shape[0] - SIZE), rng.integers(left, right - SIZE)
        patch = photo[row : row + SIZE, column : column + SIZE]
        if patch.std() > 1:
            patches.append(patch)
    return patches


MEAN, STD = 0.399, 0.237
china, flower = (photo.mean(axis=2) // 16 for photo in load_sample_images().images)
border = 480  # training patches come from the left, validation patches from the right


def dataset(left, right, n):
    greys = np.stack(cut(china, n, left, right) + cut(flower, n, left, right))
    pictures = torch.tensor(greys / 15, dtype=torch.float32).unsqueeze(1)
    return TensorDataset((pictures - MEAN) / STD, torch.arange(2).repeat_interleave(n))


train_loader = DataLoader(dataset(0, border, PER_PHOTO), batch_size=25, shuffle=True)
val_loader = DataLoader(dataset(border, 640, 200), batch_size=100)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(32, 2),
)
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=1e-2)

for epoch in range(3):
    model.train()
    total = 0.0
    for xb, yb in train_loader:
        opt.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        opt.step()
        total += loss.item() * len(yb)
    model.eval()
    with torch.no_grad():
        right = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader)
    print(f"epoch {epoch}: train loss {total / len(train_loader.dataset):.3f}, validation accuracy {right / 400:.3f}")
