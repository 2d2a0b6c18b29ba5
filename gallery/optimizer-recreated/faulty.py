"""Handwritten digits with a small convolutional net."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16 * 2 * 2, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


def get_optimizer(net):
    return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.95, nesterov=True)


def get_loaders(batch_size, seed=0):
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1
    order = np.random.RandomState(seed).permutation(len(images))
    images, labels = torch.from_numpy(images[order]), torch.from_numpy(labels[order])
    train = TensorDataset(images[:1400], labels[:1400])
    test = TensorDataset(images[1400:], labels[1400:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, 200)


def train(net, loader, optimizer, criterion):
    net.train()
    losses = []
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test(net, loader):
    net.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (net(images).argmax(1) == labels).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(6)
    train_loader, test_loader = get_loaders(batch_size=140)
    net = DigitNet()
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 11):
        optimizer = get_optimizer(net)  # fault: built anew in every epoch, so that its momentum is lost
        losses = train(net, train_loader, optimizer, criterion)
        print(f"epoch {epoch}: loss {losses[0]:.3f} to {losses[-1]:.3f}, test accuracy {test(net, test_loader):.3f}")


if __name__ == "__main__":
    main()
