"""Sort short strings: a transformer encoder learns to name the smallest letter. Validation after every epoch."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LETTERS, LENGTH = 20, 8


def make(n, generator):
    x = torch.randint(LETTERS, (n, LENGTH), generator=generator)
    return TensorDataset(x, x.min(dim=1).values)


class SmallestLetter(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.embed = nn.Embedding(LETTERS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(width, LETTERS)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).amax(dim=1))


def accuracy(model, loader):
    model.eval()
    right, total = 0, 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(dim=-1) == y).sum().item()
            total += y.numel()
    return right / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    train_loader = DataLoader(make(1600, generator), batch_size=64, shuffle=True)
    val_loader = DataLoader(make(600, generator), batch_size=40)
    model = SmallestLetter()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f} validation accuracy {accuracy(model, val_loader):.4f}")


if __name__ == "__main__":
    main()
