"""Node classification with a two-layer GCN on a random community graph.

Semi-supervised: few labelled nodes per community, the remaining nodes are
used for validation and test.
"""
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F


def community_graph(n_per, k, p_in, p_out, d, noise, gen):
    n = n_per * k
    y = torch.arange(k).repeat_interleave(n_per)
    prob = torch.where(y[:, None] == y[None, :], p_in, p_out)
    upper = (torch.rand(n, n, generator=gen) < prob).float().triu(1)
    adj = upper + upper.t()
    centres = torch.randn(k, d, generator=gen)
    x = centres[y] + noise * torch.randn(n, d, generator=gen)
    return adj, (x - x.mean(0)) / x.std(0), y


def normalise(adj):
    a = adj + torch.eye(adj.size(0))
    d = a.sum(1).rsqrt()
    return (d[:, None] * a * d[None, :]).to_sparse()


class GraphConv(nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.lin = nn.Linear(d_in, d_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x, a):
        return torch.sparse.mm(a, self.lin(x)) + self.bias


class GCN(nn.Module):
    def __init__(self, d_in, d_hidden, n_classes, p=0.5):
        super().__init__()
        self.g1 = GraphConv(d_in, d_hidden)
        self.g2 = GraphConv(d_hidden, n_classes)
        self.p = p

    def forward(self, x, a):
        x = F.dropout(x, self.p)  # fault: active in evaluation, too
        x = F.relu(self.g1(x, a))
        x = F.dropout(x, self.p)
        return self.g2(x, a)


def run(opts):
    torch.manual_seed(opts.seed)
    gen = torch.Generator().manual_seed(opts.seed)
    adj, x, y = community_graph(150, 6, 0.02, 0.004, 32, 5.0, gen)
    a = normalise(adj)
    perm = torch.randperm(len(y), generator=gen)
    train, val, test = perm[:240], perm[240:500], perm[500:]

    net = GCN(x.size(1), opts.hidden, 6, opts.dropout)
    opt = torch.optim.Adam(net.parameters(), lr=opts.lr, weight_decay=5e-4)
    best, best_state = 0.0, None
    for epoch in range(1, opts.epochs + 1):
        net.train()
        opt.zero_grad()
        loss = F.cross_entropy(net(x, a)[train], y[train])
        loss.backward()
        opt.step()

        net.eval()
        with torch.no_grad():
            out = net(x, a)
        acc = {k: (out[i].argmax(1) == y[i]).float().mean().item() for k, i in (("train", train), ("val", val))}
        if acc["val"] > best:
            best = acc["val"]
            best_state = {k: v.clone() for k, v in net.state_dict().items()}
        if epoch % 50 == 0:
            print(f"{epoch:4d} loss {loss.item():.4f} train {acc['train']:.3f} val {acc['val']:.3f}")

    net.load_state_dict(best_state)
    net.eval()
    with torch.no_grad():
        for _ in range(2):
            p = net(x, a)[test].softmax(1)
            hit = (p.argmax(1) == y[test]).float().mean().item()
            print(f"test accuracy {hit:.4f}  mean confidence {p.max(1).values.mean():.4f}")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--hidden", type=int, default=32)
    ap.add_argument("--dropout", type=float, default=0.5)
    ap.add_argument("--lr", type=float, default=0.01)
    ap.add_argument("--epochs", type=int, default=300)
    ap.add_argument("--seed", type=int, default=17)
    run(ap.parse_args())
