"""Fine-tuning with two rates: a body that knows wines by colour and acidity, a new head for the three growers."""
import argparse
import itertools

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedShuffleSplit


class WineNet(nn.Module):
    def __init__(self, n_out):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(13, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh())
        self.head = nn.Linear(32, n_out)

    def forward(self, x):
        return self.head(self.body(x))


def batches(x, y, size):
    for rows in torch.randperm(len(x)).split(size):
        yield x[rows], y[rows]


def pretrain(x, epochs):
    """The body learns to predict two properties of the wine from all of them."""
    net = WineNet(2)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for xb, yb in batches(x, x[:, [0, 9]], 20):
            opt.zero_grad()
            nn.functional.mse_loss(net(xb), yb).backward()
            opt.step()
    return net


def finetune(net, x, y, epochs, lr):
    net.head = nn.Linear(32, 3)
    slow = torch.optim.SGD(net.body.parameters(), lr=lr / 50, momentum=0.9)
    fast = torch.optim.SGD(net.head.parameters(), lr=lr, momentum=0.9)
    for epoch in range(epochs):
        total = 0.0
        for xb, yb in batches(x, y, 20):
            for opt in (slow, fast):
                opt.zero_grad()
            loss = nn.functional.cross_entropy(net(xb), yb)
            loss.backward()
            slow.step()
            fast.step()
            total += loss.item() * len(xb)
        yield epoch, total / len(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(4)
    x, y = load_wine(return_X_y=True)
    train, test = next(StratifiedShuffleSplit(1, test_size=0.3, random_state=4).split(x, y))
    x = (x - x[train].mean(0)) / x[train].std(0)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)

    net = pretrain(x[train], epochs=20)
    before = [p.detach().clone() for p in net.body.parameters()]
    for epoch, loss in itertools.islice(finetune(net, x[train], y[train], args.epochs, args.lr), args.epochs):
        with torch.no_grad():
            right = (net(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch:2d} loss {loss:.4f} test accuracy {right:.3f}")
    moved = sum((p - b).pow(2).sum() for p, b in zip(net.body.parameters(), before)).sqrt()
    print(f"the body moved by {moved:.3f}")


if __name__ == "__main__":
    main()
