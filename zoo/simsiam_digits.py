"""SimSiam on tabular cancer data: no negatives, stop-gradient on one side."""
import torch, torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

torch.manual_seed(2)
data = load_breast_cancer()
order = torch.randperm(569)
X = torch.tensor(data.data, dtype=torch.float32)[order]
y = data.target[order.numpy()]
X = (X - X[:400].mean(0)) / X[:400].std(0)
Xtr, Xte, ytr, yte = X[:400], X[400:], y[:400], y[400:]


def corrupt(x, rate=0.3):
    """SCARF-style: replace some features by values of other rows"""
    m = torch.rand_like(x) < rate
    other = Xtr[torch.randint(0, len(Xtr), x.shape), torch.arange(x.size(1))]
    return torch.where(m, other, x)


class SimSiam(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(30, d), nn.BatchNorm1d(d), nn.ReLU(), nn.Linear(d, d), nn.BatchNorm1d(d, affine=False))
        self.h = nn.Sequential(nn.Linear(d, d // 4), nn.BatchNorm1d(d // 4), nn.ReLU(), nn.Linear(d // 4, d))

    def forward(self, a, b):
        za, zb = self.f(a), self.f(b)
        pa, pb = self.h(za), self.h(zb)
        return -(F.cosine_similarity(pa, zb.detach()).mean() + F.cosine_similarity(pb, za.detach()).mean()) / 2


net = SimSiam()
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 40)
for ep in range(40):
    net.train()
    tot = 0
    for idx in torch.randperm(400).split(100):
        loss = net(corrupt(Xtr[idx]), corrupt(Xtr[idx]))
        opt.zero_grad()
        loss.backward()
        opt.step()
        tot += loss.item() / 4
    sched.step()
    if ep % 8 == 7:
        net.eval()
        with torch.no_grad():
            a, b = net.f(Xtr), net.f(Xte)
        acc = LogisticRegression(max_iter=500).fit(a[:60], ytr[:60]).score(b, yte)
        print(ep + 1, "loss %.3f" % tot, "std of z %.3f" % F.normalize(a, dim=1).std(0).mean(), "probe %.3f" % acc)
