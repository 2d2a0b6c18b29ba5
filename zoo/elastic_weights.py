"""Continual learning on digits in five tasks, on purpose one after the other; elastic weight consolidation + tiny rehearsal."""
import random
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

random.seed(5); torch.manual_seed(5)
d = load_digits()
x = torch.tensor(d.data, dtype=torch.float32) / 16
y = torch.tensor(d.target)
perm = torch.randperm(len(x))
x, y = x[perm], y[perm]
cut = int(.8 * len(x))
train, test = (x[:cut], y[:cut]), (x[cut:], y[cut:])
tasks = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]


class EWC:
    def __init__(self, net, xs, ys):
        self.anchor = {n: p.detach().clone() for n, p in net.named_parameters()}
        self.fisher = {n: torch.zeros_like(p) for n, p in net.named_parameters()}
        net.eval()
        for i in torch.randperm(len(xs))[:120]:
            net.zero_grad()
            F.nll_loss(net(xs[i:i + 1]).log_softmax(1), ys[i:i + 1]).backward()
            for n, p in net.named_parameters():
                self.fisher[n] += p.grad ** 2 / 120
        net.zero_grad()

    def penalty(self, net):
        return sum((self.fisher[n] * (p - self.anchor[n]) ** 2).sum() for n, p in net.named_parameters())


net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))
anchors, memory = [], []
for k, cls in enumerate(tasks):
    sel = (train[1] == cls[0]) | (train[1] == cls[1])
    xs, ys = train[0][sel], train[1][sel]
    opt = torch.optim.SGD(net.parameters(), lr=.05, momentum=.9)
    for epoch in range(8):
        net.train()
        for b in torch.randperm(len(xs)).split(32):
            xb, yb = xs[b], ys[b]
            if memory:
                m = random.sample(memory, min(32, len(memory)))
                xb = torch.cat([xb] + [a for a, _ in m]); yb = torch.cat([yb] + [c for _, c in m])
            loss = F.cross_entropy(net(xb), yb) + 20 * sum(a.penalty(net) for a in anchors)
            opt.zero_grad()
            loss.backward()
            opt.step()
    anchors.append(EWC(net, xs, ys))
    memory += [(xs[i:i + 1], ys[i:i + 1]) for i in torch.randperm(len(xs))[:40]]
    net.eval()
    with torch.no_grad():
        seen = [c for t in tasks[:k + 1] for c in t]
        row = []
        for c in seen:
            s = test[1] == c
            row.append((net(test[0][s]).argmax(1) == c).float().mean().item())
    print('after task', k + 1, 'loss %.4f' % loss.item(), 'mean over seen classes %.3f' % (sum(row) / len(row)))
