"""Graph-level classification without any graph library.

Graphs have different sizes, so the network is run graph by graph and the scores are
put together afterwards.
"""
import numpy as np
import torch
from torch import nn


def ring_graph(n, rng):
    a = np.zeros((n, n))
    for i in range(n):
        a[i, (i + 1) % n] = a[(i + 1) % n, i] = 1
    return a


def star_graph(n, rng):
    a = np.zeros((n, n))
    a[0, 1:] = a[1:, 0] = 1
    return a


def tree_graph(n, rng):
    a = np.zeros((n, n))
    for i in range(1, n):
        j = rng.integers(max(0, i - 3), i)
        a[i, j] = a[j, i] = 1
    return a


MAKERS = (ring_graph, star_graph, tree_graph)


def make_graph(rng):
    kind = int(rng.integers(3))
    n = int(rng.integers(8, 15))
    a = MAKERS[kind](n, rng)
    for _ in range(int(rng.integers(0, 3))):          # a few random extra edges
        i, j = rng.choice(n, 2, replace=False)
        a[i, j] = a[j, i] = 1
    p = rng.permutation(n)
    a = torch.tensor(a[p][:, p], dtype=torch.float32)
    feat = torch.stack([torch.ones(n), a.sum(1) / 4, (a @ a.sum(1)) / 16], 1)
    return a, feat, kind


class GraphNet(nn.Module):
    def __init__(self, d_in=3, d=24, n_cls=3):
        super().__init__()
        self.l1, self.l2 = nn.Linear(2 * d_in, d), nn.Linear(2 * d, d)
        self.cls = nn.Linear(2 * d, n_cls)

    def forward(self, adj, x):
        norm = adj / adj.sum(1, keepdim=True).clamp(min=1)
        x = torch.relu(self.l1(torch.cat([x, norm @ x], 1)))
        x = torch.relu(self.l2(torch.cat([x, norm @ x], 1)))
        return self.cls(torch.cat([x.mean(0), x.max(0).values]))


def batch_scores(net, graphs):
    return [net(adj, feat) for adj, feat, _ in graphs]


def evaluate(net, graphs):
    net.eval()
    with torch.no_grad():
        s = torch.stack(batch_scores(net, graphs))
    y = torch.tensor([g[2] for g in graphs])
    return nn.functional.cross_entropy(s, y).item(), (s.argmax(1) == y).float().mean().item()


def run(seed=6, n_train=400, n_test=150, epochs=12, bs=20, lr=3e-3):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    train = [make_graph(rng) for _ in range(n_train)]
    test = [make_graph(rng) for _ in range(n_test)]
    net = GraphNet()
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    for ep in range(epochs):
        net.train()
        rng.shuffle(order := np.arange(n_train))
        tot = 0.0
        for k in range(0, n_train, bs):
            graphs = [train[i] for i in order[k:k + bs]]
            outputs = batch_scores(net, graphs)
            logits = torch.stack(outputs)
            labels = torch.tensor([g[2] for g in graphs])
            loss = nn.functional.cross_entropy(logits, labels)
            opt.zero_grad()
            loss.backward()
            opt.step()
            tot += loss.item() * len(graphs)
        tl, ta = evaluate(net, test)
        print(f"ep {ep:2d} | train {tot / n_train:.4f} | test {tl:.4f} acc {ta:.3f}")


run()
