"""A small autoencoder of digits; prints the reconstruction error of each epoch."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Autoencoder(nn.Module):
    def __init__(self, code=12):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, code))
        self.decode = nn.Sequential(nn.Linear(code, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x):
        return self.decode(self.encode(x))


def train(model, loader, optimizer):
    model.train()
    running = 0.0
    count = 0
    for step, (x,) in enumerate(loader, start=1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), x)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(x)
        count += len(x)
    return running / count


def validate(model, loader):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for (x,) in loader:
            total += (model(x) - x).square().sum().item()
    return total / (64 * len(loader.dataset))


def main():
    torch.manual_seed(31)
    pixels = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    pixels = pixels[torch.randperm(len(pixels))]
    train_loader = DataLoader(TensorDataset(pixels[:1500]), batch_size=50)
    valid_loader = DataLoader(TensorDataset(pixels[1500:]), batch_size=100)
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(12):
        loss = train(model, train_loader, optimizer)
        error = validate(model, valid_loader)
        print(f"epoch {epoch + 1:2d}: train {loss:.4f}, held out {error:.4f}")


if __name__ == "__main__":
    main()
