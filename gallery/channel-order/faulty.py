"""Tell patches of two photographs apart, a Chinese temple and a flower, with a convolutional net."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, TensorDataset


def cut_patches(photo, count, rng, size=16):
    """Random square patches of a photograph, as an array of shape (count, size, size, 3)."""
    height, width, _ = photo.shape
    tops, lefts = rng.integers(0, height - size, count), rng.integers(0, width - size, count)
    return np.stack([photo[t : t + size, left : left + size] for t, left in zip(tops, lefts)])


def load(count, rng, half):
    patches, labels = [], []
    for label, photo in enumerate(load_sample_images().images):
        middle = photo.shape[1] // 2
        part = photo[:, :middle] if half == "left" else photo[:, middle:]
        patches.append(cut_patches(part, count, rng))
        labels += [label] * count
    images = torch.from_numpy(np.concatenate(patches)).float() / 127.5 - 1
    images = images.reshape(-1, 3, 16, 16)  # fault: reshape does not exchange axes
    return TensorDataset(images, torch.tensor(labels))


class PatchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.classifier = nn.Linear(64, 2)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def main():
    torch.manual_seed(6)
    rng = np.random.default_rng(6)
    train_loader = DataLoader(load(300, rng, "left"), batch_size=32, shuffle=True)
    test_loader = DataLoader(load(100, rng, "right"), batch_size=100)
    net = PatchNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(5):
        net.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            hits = torch.cat([net(x).argmax(1) == y for x, y in test_loader])
        print(f"epoch {epoch}: accuracy on the other halves {hits.float().mean().item():.3f}")


if __name__ == "__main__":
    main()
