"""Classify handwritten digits with a multilayer perceptron; images come as floats between 0 and 1."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

MEAN, STD = 4.88, 6.02


class Digits(Dataset):
    def __init__(self):
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32) / 16
        self.labels = torch.tensor(digits.target)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = (self.images[index] - MEAN) / STD  # fault: constants for pixels of 0 to 16, and the pixels are 0 to 1
        return image.flatten(), self.labels[index]


class Perceptron(nn.Module):
    def __init__(self, sizes=(64, 48, 32, 10)):
        super().__init__()
        layers = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x)


class Trainer:
    def __init__(self, model, train_loader, test_loader):
        self.model = model
        self.train_loader = train_loader
        self.test_loader = test_loader
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()

    def epoch(self):
        self.model.train()
        for images, labels in self.train_loader:
            self.optimizer.zero_grad()
            self.criterion(self.model(images), labels).backward()
            self.optimizer.step()

    @torch.no_grad()
    def accuracy(self):
        self.model.eval()
        hits = sum((self.model(images).argmax(1) == labels).sum().item() for images, labels in self.test_loader)
        return hits / len(self.test_loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(2)
    data = Digits()
    train, test = random_split(data, [1400, 397])
    trainer = Trainer(Perceptron(), DataLoader(train, 64, shuffle=True), DataLoader(test, 128))
    for number in range(6):
        trainer.epoch()
        print(f"epoch {number}: test accuracy {trainer.accuracy():.3f}")
