"""Digits kept in memory as arrays, with brightness noise added on the fly; the test images are clean."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class CachedDigits(Dataset):
    """Decoded once and cached; augmentation happens when an image is asked for."""

    def __init__(self, images, targets, noise=0.0):
        self.cache = [(image / 16.0).astype("float32") for image in images]
        self.targets = targets
        self.noise = noise

    def __getitem__(self, index):
        image = self.cache[index].copy()
        if self.noise:
            image += self.noise * np.random.randn(*image.shape).astype("float32")
        return torch.as_tensor(image).flatten().clone(), int(self.targets[index])

    def __len__(self):
        return len(self.cache)


np.random.seed(12)
torch.manual_seed(12)
digits = load_digits()
train_loader = DataLoader(CachedDigits(digits.images[:1200], digits.target[:1200], noise=0.3), batch_size=40, shuffle=True)
test_loader = DataLoader(CachedDigits(digits.images[1200:], digits.target[1200:]), batch_size=200)

model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()


def run_epoch():
    model.train()
    total = 0.0
    for images, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(train_loader)


@torch.no_grad()
def test_accuracy():
    model.eval()
    right = sum((model(images).argmax(dim=1) == targets).sum().item() for images, targets in test_loader)
    return right / len(test_loader.dataset)


for epoch in range(12):
    loss = run_epoch()
    if epoch % 3 == 2:
        print(f"epoch {epoch + 1:2d}: loss {loss:.4f}, test accuracy {test_accuracy():.4f}")
