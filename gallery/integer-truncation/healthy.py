"""Digits with a convolutional net; pictures are kept as small numbers to save memory."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class DigitData(Dataset):
    def __init__(self, first, last):
        digits = load_digits()
        self.raw = digits.images[first:last]
        self.labels = digits.target[first:last]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        picture = (self.raw[i] / 16).astype(np.float16)
        return torch.from_numpy(picture).float().unsqueeze(0), int(self.labels[i])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16 * 16, 40)
        self.fc2 = nn.Linear(40, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


if __name__ == "__main__":
    torch.manual_seed(1)
    train_loader = DataLoader(DigitData(0, 1350), batch_size=32, shuffle=True)
    test_loader = DataLoader(DigitData(1350, 1797), batch_size=64)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(5):
        net.train()
        for pictures, labels in train_loader:
            loss = criterion(net(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        correct = 0
        with torch.no_grad():
            for pictures, labels in test_loader:
                correct += (net(pictures).argmax(1) == labels).sum().item()
        print(f"epoch {epoch + 1}: test accuracy {correct / len(test_loader.dataset):.3f}")
