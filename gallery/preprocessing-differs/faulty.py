"""Train a small convolutional network on digit pictures with a transform pipeline of one's own."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Compose:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, picture):
        for step in self.steps:
            picture = step(picture)
        return picture


def to_tensor(picture):
    return torch.from_numpy(picture.astype(np.float32)).unsqueeze(0) / 16


def normalize(picture):
    return (picture - 0.305) / 0.376


def random_shift(picture):
    return torch.roll(picture, int(torch.randint(-1, 2, ())), dims=-1)


train_transform = Compose(to_tensor, normalize, random_shift)
test_transform = Compose(to_tensor)  # fault: pictures are not normalised here


class Pictures(Dataset):
    def __init__(self, pictures, labels, transform):
        self.pictures, self.labels, self.transform = pictures, labels, transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.pictures[i]), self.labels[i]


def evaluate(model, loader):
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for pictures, labels in loader:
            correct += (model(pictures).argmax(1) == labels).sum().item()
            total += len(labels)
    return correct / total


def main():
    torch.manual_seed(7)
    digits = load_digits()
    train = Pictures(digits.images[:1400], digits.target[:1400], train_transform)
    test = Pictures(digits.images[1400:], digits.target[1400:], test_transform)
    train_loader = DataLoader(train, batch_size=40, shuffle=True)
    test_loader = DataLoader(test, batch_size=100)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 16, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(4):
        model.train()
        for pictures, labels in train_loader:
            optimizer.zero_grad()
            criterion(model(pictures), labels).backward()
            optimizer.step()
        print(f"epoch {epoch}: test accuracy {evaluate(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
