"""Rare events in a table of 24 features, by a focal loss; the score is the average precision."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, recall_score, f1_score
from sklearn.model_selection import train_test_split


class FocalLoss(nn.Module):
    def __init__(self, gamma=2.0, alpha=0.75):
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits, targets):
        bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        pt = torch.exp(-bce)
        at = self.alpha * targets + (1 - self.alpha) * (1 - targets)
        return (at * (1 - pt) ** self.gamma * bce).mean()


class Net(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 1)

    def forward(self, x):
        return self.head(self.body(x)).squeeze(-1)


def loaders(seed=4):
    X, y = make_classification(9000, 24, n_informative=10, n_redundant=4, n_clusters_per_class=3, weights=[0.93],
                               class_sep=1.4, flip_y=0.005, random_state=seed)
    X, y = X.astype(np.float32), y.astype(np.float32)
    Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    mu, sd = Xa.mean(0), Xa.std(0)
    mk = lambda a, b: torch.utils.data.TensorDataset(torch.from_numpy((a - mu) / sd), torch.from_numpy(b))
    return (torch.utils.data.DataLoader(mk(Xa, ya), 128, shuffle=True),
            torch.utils.data.DataLoader(mk(Xb, yb), 512))


def evaluate(net, dl):
    net.eval()
    with torch.no_grad():
        s, t = zip(*[(net(x).sigmoid(), y) for x, y in dl])
    s, t = torch.cat(s).numpy(), torch.cat(t).numpy()
    return average_precision_score(t, s), recall_score(t, s > 0.5), f1_score(t, s > 0.5)


torch.manual_seed(0)
train_dl, test_dl = loaders()
net = Net(24)
crit = FocalLoss()
optim = torch.optim.Adam(net.parameters(), lr=1e-3)
for ep in range(1, 26):
    net.train()
    losses = []
    for x, y in train_dl:
        optim.zero_grad()
        loss = crit(net(x), y)
        loss.backward()
        optim.step()
        losses.append(loss.item())
    if ep % 5 == 0:
        print(f"ep {ep} focal={np.mean(losses):.5f}")
ap, rec, f1 = evaluate(net, test_dl)
print(f"final: AP={ap:.3f} recall={rec:.3f} F1={f1:.3f}")
