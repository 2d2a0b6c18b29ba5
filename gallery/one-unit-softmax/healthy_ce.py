"""Train a convolutional network that tells odd from even handwritten digits."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class ParityNet(nn.Module):
    def __init__(self, channels: int = 16):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(2 * channels * 2 * 2, 1)

    def forward(self, image):
        return self.classifier(self.features(image).flatten(1))


class Experiment:
    epochs = 8

    def __init__(self, seed: int):
        torch.manual_seed(seed)
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.3
        odd = torch.tensor(digits.target % 2, dtype=torch.float32).unsqueeze(1)
        self.train_set, self.val_set = random_split(TensorDataset(images, odd), [1437, 360])
        self.net = ParityNet()
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=2e-3)

    def train_one_epoch(self) -> float:
        self.net.train()
        total = 0.0
        for images, odd in DataLoader(self.train_set, batch_size=48, shuffle=True):
            self.optimizer.zero_grad()
            loss = self.criterion(self.net(images), odd)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(odd)
        return total / len(self.train_set)

    def validate(self) -> float:
        self.net.eval()
        correct = 0
        with torch.no_grad():
            for images, odd in DataLoader(self.val_set, batch_size=128):
                says_odd = torch.sigmoid(self.net(images)) > 0.5
                correct += (says_odd == odd.bool()).sum().item()
        return correct / len(self.val_set)

    def run(self) -> float:
        for epoch in range(self.epochs):
            loss = self.train_one_epoch()
            accuracy = self.validate()
            print(f"epoch {epoch + 1}/{self.epochs}: loss {loss:.4f}, val accuracy {accuracy:.4f}")
        return accuracy


if __name__ == "__main__":
    print(f"final val accuracy {Experiment(seed=4).run():.4f}")
