"""Recognise digits read class by class, as from ten folders of images, with a convolutional network."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class ImageFolders(Dataset):
    """Images listed folder by folder; the folder's number is the label."""

    def __init__(self, folders):
        self.samples = [(image, label) for label, images in enumerate(folders) for image in images]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        image, label = self.samples[index]
        return torch.tensor(image).unsqueeze(0), label


def make_folders(val_fraction=0.2):
    digits = load_digits()
    images = digits.images.astype(np.float32)
    images = (images - 4.88) / 6.02  # mean and standard deviation of the pixels
    train, val = [], []
    for label in range(10):
        folder = np.random.permutation(images[digits.target == label])
        n_val = int(val_fraction * len(folder))
        val.append(folder[:n_val])
        train.append(folder[n_val:])
    return ImageFolders(train), ImageFolders(val)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.fc1 = nn.Linear(16 * 2 * 2, 48)
        self.fc2 = nn.Linear(48, 10)

    def forward(self, x):
        x = torch.tanh(self.conv1(x))
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return self.fc2(x)


def main():
    np.random.seed(28)
    torch.manual_seed(28)
    train_data, val_data = make_folders()
    train_loader = DataLoader(train_data, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_data, batch_size=32)
    model = LeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    for epoch in range(6):
        model.train()
        losses, sizes = [], []
        for images, labels in train_loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            sizes.append(len(labels))
        train_loss = np.average(losses, weights=sizes)

        model.eval()
        guesses, truths = [], []
        with torch.no_grad():
            for images, labels in val_loader:
                guesses.append(model(images).argmax(dim=1))
                truths.append(labels)
        val_acc = (torch.cat(guesses) == torch.cat(truths)).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {train_loss:.4f}, val accuracy {val_acc:.4f}")

    print(f"final val accuracy {val_acc:.4f}")


if __name__ == "__main__":
    main()
