"""Spot zeros among handwritten digits. Zeros are rare, so the sampler draws them more often."""

from collections import Counter

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


def load():
    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    is_zero = torch.tensor((digits.target == 0).astype("int64"))
    order = torch.randperm(len(images))
    train, test = order[:1300], order[1300:]
    return TensorDataset(images[train], is_zero[train]), TensorDataset(images[test], is_zero[test])


def balanced_loader(dataset, batch_size):
    labels = dataset.tensors[1]
    class_weights = 1.0 / torch.bincount(labels).float()
    weights = class_weights[labels]
    sampler = WeightedRandomSampler(weights, num_samples=len(dataset), replacement=True)
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler)


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.classifier = nn.Linear(8 * 3 * 3, 2)

    def forward(self, x):
        return self.classifier(self.features(x))


@torch.no_grad()
def recall(model, loader):
    model.eval()
    found = Counter()
    for images, labels in loader:
        predicted = model(images).argmax(1)
        for truth, guess in zip(labels.tolist(), predicted.tolist()):
            found[truth, guess] += 1
    return {c: found[c, c] / max(1, found[c, 0] + found[c, 1]) for c in (0, 1)}


def main():
    torch.manual_seed(17)
    train_set, test_set = load()
    train_loader = balanced_loader(train_set, batch_size=32)
    test_loader = DataLoader(test_set, batch_size=128)
    model = SmallCNN()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(4):
        model.train()
        running = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        recalls = recall(model, test_loader)
        print(f"epoch {epoch}: loss {running / len(train_loader):.4f}, recall others {recalls[0]:.3f}, zeros {recalls[1]:.3f}")


if __name__ == "__main__":
    main()
