"""Semi-supervised digits: a graph convolution over the nearest-neighbour graph, written by hand with index_add_."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph
from torch import nn

dev = torch.device("cuda:0")
torch.manual_seed(11)
rng = np.random.default_rng(11)

features, labels = load_digits(return_X_y=True)
graph = kneighbors_graph(features, n_neighbors=6).tocoo()
src, dst = torch.tensor(graph.row, dtype=torch.long), torch.tensor(graph.col, dtype=torch.long)
loops = torch.arange(len(labels))
pairs = torch.unique(torch.stack([torch.cat([src, dst, loops]), torch.cat([dst, src, loops])]), dim=1)
edge_index = pairs.to(dev)

x = torch.tensor(features / 16.0, dtype=torch.float32, device=dev)
x = x - x.mean(dim=0)
y = torch.tensor(labels, device=dev)
n = len(y)

order = rng.permutation(n)
train_mask, val_mask, test_mask = (torch.zeros(n, dtype=torch.bool, device=dev) for _ in range(3))
train_mask[order[:300]] = True
val_mask[order[300:800]] = True
test_mask[order[800:]] = True


class GraphConv(nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.lin = nn.Linear(d_in, d_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x, edge_index):
        row, col = edge_index
        deg = torch.zeros(x.size(0), device=x.device).scatter_add_(0, row, torch.ones_like(row, dtype=x.dtype))
        norm = (deg[row] * deg[col]).rsqrt()
        h = self.lin(x)
        out = torch.zeros_like(h).index_add_(0, row, h[col] * norm[:, None])
        return out + self.bias


class GCN(nn.Module):
    def __init__(self, d_in, d_hid, n_cls, p=0.5):
        super().__init__()
        self.conv1 = GraphConv(d_in, d_hid)
        self.conv2 = GraphConv(d_hid, n_cls)
        self.p = p

    def forward(self, x, edge_index):
        h = F.relu(self.conv1(x, edge_index))
        h = F.dropout(h, self.p, training=self.training)
        return self.conv2(h, edge_index)


net = GCN(x.size(1), 64, 10).to(dev)
opt = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)

best_val = test_at_best = 0.0
for epoch in range(1, 101):
    net.train()
    opt.zero_grad()
    out = net(x, edge_index)
    loss = F.cross_entropy(out[train_mask], y[train_mask])
    loss.backward()
    opt.step()

    net.eval()
    with torch.no_grad():
        pred = net(x, edge_index).argmax(dim=1)
        val_acc = (pred[val_mask] == y[val_mask]).float().mean().item()
        test_acc = (pred[test_mask] == y[test_mask]).float().mean().item()
    if val_acc > best_val:
        best_val, test_at_best = val_acc, test_acc
    if epoch % 20 == 0:
        print(f"Epoch: {epoch:03d}, Loss: {loss.item():.4f}, Val: {val_acc:.4f}, Test: {test_at_best:.4f}")
