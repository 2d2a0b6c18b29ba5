"""Breast-cancer diagnosis with a network that brings its own dropout layer."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, random_split


class InvertedDropout(nn.Module):
    """Zero features at random and scale up the others."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if self.rate == 0 or not self.training:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Diagnosis(nn.Module):
    def __init__(self, features, width=48, rate=0.5):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features, width),
            nn.SiLU(),
            InvertedDropout(rate),
            nn.Linear(width, width),
            nn.SiLU(),
            InvertedDropout(rate),
            nn.Linear(width, 1),
        )

    def forward(self, x):
        return self.net(x).squeeze(-1)


def run_epoch(model, loader, criterion, optimizer=None):
    model.train(optimizer is not None)
    total, hits, seen = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for x, y in loader:
            score = model(x)
            loss = criterion(score, y)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total, hits, seen = total + loss.item() * len(y), hits + ((score > 0) == y.bool()).sum().item(), seen + len(y)
    return total / seen, hits / seen


if __name__ == "__main__":
    torch.manual_seed(4)
    x, y = load_breast_cancer(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    train_set, val_set = random_split(TensorDataset(x, torch.tensor(y, dtype=torch.float32)), [429, 140])
    train, val = DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(val_set, batch_size=70)
    model = Diagnosis(x.shape[1])
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(8):
        train_loss, _ = run_epoch(model, train, criterion, optimizer)
        val_loss, accuracy = run_epoch(model, val, criterion)
        print(f"{epoch}: train loss {train_loss:.3f}  val loss {val_loss:.3f}  val accuracy {accuracy:.3f}")
