"""Triplets of wines, embedded and classified by neighbours."""
import random
import torch
from torch import nn
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier


def set_seed(s):
    random.seed(s)
    torch.manual_seed(s)


class TripletSampler:
    """Yields batches of (anchor, positive, negative)."""

    def __init__(self, x, y, batch, n_batches):
        self.x, self.y, self.batch, self.n = x, y, batch, n_batches
        self.by = {int(c): (y == c).nonzero().flatten() for c in y.unique()}
        self.classes = list(self.by)

    def pick(self, c):
        return self.by[c][random.randrange(len(self.by[c]))]

    def __iter__(self):
        for _ in range(self.n):
            rows = []
            for _ in range(self.batch):
                ca, cn = random.sample(self.classes, 2)
                rows.append((self.pick(ca), self.pick(ca), self.pick(cn)))
            a, p, n = map(torch.stack, zip(*rows))
            yield self.x[a], self.x[p], self.x[n]

    def __len__(self):
        return self.n


class EmbedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.PReLU(), nn.Linear(128, 128), nn.PReLU(), nn.Linear(128, 16))

    def forward(self, x):
        return self.net(x)


class TripletLoss(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, a, p, n):
        dp = (a - p).pow(2).sum(1)
        dn = (a - n).pow(2).sum(1)
        return torch.relu(dp - dn - self.margin).mean()  # fault: the sign of the margin


class Trainer:
    def __init__(self, net, loss, opt):
        self.net, self.loss, self.opt = net, loss, opt

    def fit(self, sampler, evaluate, epochs):
        for e in range(1, epochs + 1):
            self.net.train()
            tot = 0.0
            for a, p, n in sampler:
                l = self.loss(self.net(a), self.net(p), self.net(n))
                self.opt.zero_grad(); l.backward(); self.opt.step()
                tot += l.item()
            print(f"epoch {e}: triplet loss {tot/len(sampler):.4f}  knn acc {evaluate():.4f}")


set_seed(3)
d = load_digits()
x = torch.tensor(d.data / 16.0, dtype=torch.float32)
y = torch.tensor(d.target)
perm = torch.randperm(len(x))
tr, te = perm[:300], perm[300:]
net = EmbedNet()


def evaluate():
    net.eval()
    with torch.no_grad():
        return KNeighborsClassifier(5).fit(net(x[tr]).numpy(), y[tr]).score(net(x[te]).numpy(), y[te])


Trainer(net, TripletLoss(1.0), torch.optim.Adam(net.parameters(), lr=1e-3)).fit(
    TripletSampler(x[tr], y[tr], 64, 30), evaluate, 8)
