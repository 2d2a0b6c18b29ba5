"""Wine cultivars; an epoch of training is a function that returns the mean loss."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    running_loss = 0.0
    for features, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(features), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return running_loss / len(loader)


def accuracy(model, loader):
    model.eval()
    hits = 0
    with torch.no_grad():
        for features, labels in loader:
            hits += (model(features).argmax(1) == labels).sum().item()
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(13)
    x, y = load_wine(return_X_y=True)
    data = TensorDataset(torch.tensor(scale(x), dtype=torch.float32), torch.tensor(y))
    train_set, val_set = random_split(data, [128, 50])
    train_loader = DataLoader(train_set, batch_size=8, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=10)
    model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(10):
        loss = train_epoch(model, train_loader, criterion, optimizer)
        print(f"epoch {epoch}: loss {loss:.4f}, accuracy {accuracy(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
