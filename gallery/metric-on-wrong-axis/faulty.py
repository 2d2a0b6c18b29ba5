"""Benign or malignant? A network with one logit, written as a class with a fit method."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def as_loader(x, y, **kwargs):
    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), **kwargs)


class TumourClassifier:
    def __init__(self, n_features, hidden=32, lr=3e-3):
        self.net = nn.Sequential(
            nn.Linear(n_features, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self.loss_fn = nn.BCEWithLogitsLoss()
        self.optim = torch.optim.Adam(self.net.parameters(), lr=lr)

    def training_epoch(self, loader):
        self.net.train()
        losses = []
        for x, y in loader:
            self.optim.zero_grad()
            loss = self.loss_fn(self.net(x), y)
            loss.backward()
            self.optim.step()
            losses.append(loss.item())
        return np.mean(losses)

    def score(self, loader):
        self.net.eval()
        right, seen = 0, 0
        with torch.no_grad():
            for x, y in loader:
                logits = self.net(x)
                predicted = logits.argmax(dim=1, keepdim=True)  # fault: one logit, so its argmax is always 0
                right += (predicted == y).sum().item()
                seen += len(y)
        return right / seen

    def fit(self, train_loader, valid_loader, epochs):
        for epoch in range(1, epochs + 1):
            loss = self.training_epoch(train_loader)
            print(f"[{epoch}/{epochs}] loss {loss:.4f} valid accuracy {self.score(valid_loader):.3f}")


def main():
    torch.manual_seed(3)
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, stratify=y, random_state=3)
    scaler = StandardScaler().fit(x_train)
    x_train, x_valid = (scaler.transform(part).astype(np.float32) for part in (x_train, x_valid))
    y_train, y_valid = (part.astype(np.float32)[:, None] for part in (y_train, y_valid))
    train_loader = as_loader(x_train, y_train, batch_size=32, shuffle=True)
    valid_loader = as_loader(x_valid, y_valid, batch_size=57)

    TumourClassifier(x.shape[1]).fit(train_loader, valid_loader, epochs=8)


if __name__ == "__main__":
    main()
