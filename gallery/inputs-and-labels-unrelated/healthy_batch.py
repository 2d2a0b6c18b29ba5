"""Recognise wines; rows of each batch are mixed and noised a little before the step."""

import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mix(x, y):
    """Another order of the rows, since the loader reads them in order."""
    order = torch.randperm(len(x))
    return x[order], y[order]


def build_data():
    wine = load_wine()
    x = torch.tensor(wine.data, dtype=torch.float32)
    y = torch.tensor(wine.target)
    shuffled = torch.randperm(len(x))
    x, y = x[shuffled], y[shuffled]
    x = (x - x[:130].mean(0)) / x[:130].std(0)
    return TensorDataset(x[:130], y[:130]), TensorDataset(x[130:], y[130:])


def run(epochs=20):
    torch.manual_seed(23)
    train, test = build_data()
    loader = DataLoader(train, batch_size=26)
    net = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        for batch in loader:
            x, y = mix(*batch)
            loss = criterion(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            x, y = test.tensors
            accuracy = (net(x).argmax(1) == y).float().mean().item()
        print(f"{epoch + 1:2d}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    run()
