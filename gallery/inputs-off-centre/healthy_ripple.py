"""Tell by a small patch which of two photographs it was cut from; the net begins with a convolution and batch norm."""

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(29)
rng = np.random.default_rng(29)
SIZE, PER_PHOTO = 16, 700


def cut(photo, n, left, right):
    rows = rng.integers(0, photo.shape[0] - SIZE, n)
    columns = rng.integers(left, right - SIZE, n)
    return [photo[r : r + SIZE, c : c + SIZE] for r, c in zip(rows, columns)]


def to_tensor(patches):
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 255


mean = torch.tensor([0.443, 0.474, 0.442]).view(3, 1, 1)
std = torch.tensor([0.386, 0.311, 0.339]).view(3, 1, 1)
china, flower = load_sample_images().images
border = 480  # training patches come from the left, validation patches from the right


def dataset(left, right, n):
    patches = to_tensor(cut(china, n, left, right) + cut(flower, n, left, right))
    return TensorDataset((patches - mean) / std, torch.arange(2).repeat_interleave(n))


train_loader = DataLoader(dataset(0, border, PER_PHOTO), batch_size=50, shuffle=True)
val_loader = DataLoader(dataset(border, 640, 200), batch_size=100)

model = nn.Sequential(
    nn.Conv2d(3, 16, 3, bias=False),
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
opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)

for epoch in range(5):
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
