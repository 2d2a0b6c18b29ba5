"""Adversarial training with projected gradient steps, and an evaluation that attacks as well."""
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


def get_args():
    p = argparse.ArgumentParser()
    p.add_argument('--eps', type=float, default=0.1)
    p.add_argument('--alpha', type=float, default=0.04)
    p.add_argument('--iters', type=int, default=4)
    p.add_argument('--epochs', type=int, default=12)
    return p.parse_args()


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(512, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def pgd(model, x, y, args):
    delta = torch.empty_like(x).uniform_(-args.eps, args.eps).requires_grad_(True)
    for _ in range(args.iters):
        loss = F.cross_entropy(model(x + delta), y)
        loss.backward()
        delta.data = (delta + args.alpha * delta.grad.sign()).clamp(-args.eps, args.eps).detach()
        delta.grad.zero_()
    return (x + delta).detach().clamp(0, 1)


def robust_accuracy(model, loader, args):
    model.eval()
    clean = adv = n = 0
    for x, y in loader:
        xa = pgd(model, x, y, args)
        with torch.no_grad():
            clean += (model(x).argmax(1) == y).sum().item()
            adv += (model(xa).argmax(1) == y).sum().item()
        n += len(y)
    return clean / n, adv / n


def main():
    args = get_args()
    torch.manual_seed(0)
    d = load_digits()
    x = torch.tensor(d.images).float().unsqueeze(1) / 16
    y = torch.tensor(d.target)
    perm = torch.randperm(len(y))
    tr = DataLoader(TensorDataset(x[perm[:1400]], y[perm[:1400]]), batch_size=50, shuffle=True)
    te = DataLoader(TensorDataset(x[perm[1400:]], y[perm[1400:]]), batch_size=200)
    model = CNN()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        model.train()
        for xb, yb in tr:
            xadv = pgd(model, xb, yb, args)
            opt.zero_grad()
            loss = F.cross_entropy(model(xadv), yb)
            loss.backward()
            opt.step()
        c, a = robust_accuracy(model, te, args)
        print(f'epoch {epoch} loss {loss.item():.4f} clean {c:.4f} pgd {a:.4f}')


if __name__ == '__main__':
    main()
