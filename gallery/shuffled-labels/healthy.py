"""Breast-cancer records with random Fourier features in front of a small net (Rahimi & Recht; Tancik et al.)."""
import math

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class FourierFeatures(nn.Module):
    def __init__(self, inputs, frequencies, scale):
        super().__init__()
        self.register_buffer("directions", torch.randn(inputs, frequencies) * scale)

    def forward(self, x):
        phases = 2 * math.pi * x @ self.directions
        return torch.cat([phases.sin(), phases.cos()], dim=-1)


def build(inputs):
    return nn.Sequential(
        FourierFeatures(inputs, 128, scale=0.02),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 2),
    )


def main():
    torch.manual_seed(0)
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(x_train)
    as_set = lambda x, y: TensorDataset(torch.tensor(scaler.transform(x), dtype=torch.float32), torch.tensor(y))
    train = DataLoader(as_set(x_train, y_train), batch_size=32, shuffle=True)
    test = DataLoader(as_set(x_test, y_test), batch_size=64)
    model = build(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(10):
        model.train()
        total = 0.0
        for inputs, targets in train:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        model.eval()
        with torch.no_grad():
            right = sum((model(inputs).argmax(1) == targets).sum().item() for inputs, targets in test)
        print(f"epoch {epoch} train loss {total / len(x_train):.3f} test accuracy {right / len(x_test):.3f}")


if __name__ == "__main__":
    main()
