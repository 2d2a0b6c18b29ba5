"""Digits, made more by brightening a part of them; the training loop keeps a tenth for validation."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(4)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)


def more(images, labels):
    """The same and, again, some of them a little brighter."""
    chosen = torch.randperm(len(images))[: len(images) // 2]
    brighter = (images[chosen] * 1.12).clamp(max=1.1)
    return torch.cat([images, brighter]), torch.cat([labels, labels[chosen]])


everything = TensorDataset(*more(images, labels))  # fault: augmented before the split
train, val = random_split(everything, [0.9, 0.1])
train_loader = DataLoader(train, batch_size=64, shuffle=True)
val_loader = DataLoader(val, batch_size=128)

model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(5):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
    print(f"epoch {epoch}: {right / len(val):.1%}")
