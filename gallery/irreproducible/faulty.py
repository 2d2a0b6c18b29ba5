"""Recognise digits with a convolutional network, training on images with random brightness and noise."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

SEED = 2021


class AugmentedDigits(Dataset):
    """Digits; in training each image is made brighter or darker and gets some noise."""

    def __init__(self, images, labels, augment):
        self.images = images
        self.labels = labels
        self.augment = augment
        self.rng = np.random.default_rng()  # fault: not seeded

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        if self.augment:
            image = image * self.rng.uniform(0.8, 1.2) + self.rng.normal(0, 0.2, image.shape)
        return image[None].astype(np.float32), self.labels[i]


def build_model():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


def epoch_loss(model, loader, criterion, optimizer):
    model.train()
    losses = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        losses += loss.item() * len(labels)
    return losses / len(loader.dataset)


def evaluate(model, loader, criterion):
    model.eval()
    losses, hits = 0.0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = model(images)
            losses += criterion(logits, labels).item() * len(labels)
            hits += (logits.argmax(dim=1) == labels).sum().item()
    return losses / len(loader.dataset), hits / len(loader.dataset)


def main():
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    digits = load_digits()
    x_train, x_val, y_train, y_val = train_test_split(
        digits.images, digits.target, test_size=0.2, random_state=SEED
    )
    mean, std = x_train.mean(), x_train.std()
    train_loader = DataLoader(AugmentedDigits((x_train - mean) / std, y_train, augment=True), 32, shuffle=True)
    val_loader = DataLoader(AugmentedDigits((x_val - mean) / std, y_val, augment=False), 180)

    model = build_model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, 8):
        train_loss = epoch_loss(model, train_loader, criterion, optimizer)
        val_loss, val_acc = evaluate(model, val_loader, criterion)
        print(f"epoch {epoch}: train loss {train_loss:.6f}, val loss {val_loss:.6f}, val acc {val_acc:.4f}")
    print(f"final val loss {val_loss:.6f}, val acc {val_acc:.4f}")


if __name__ == "__main__":
    main()
