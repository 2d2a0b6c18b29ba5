"""Graph convolution, full batch, on one neighbourhood graph of digits with train/val/test node masks."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

torch.manual_seed(16)


def normalised_adjacency(x, k):
    a = kneighbors_graph(x, k, include_self=False).tocoo()
    n = a.shape[0]
    src, dst = torch.from_numpy(a.row).long(), torch.from_numpy(a.col).long()
    loops = torch.arange(n)
    index = torch.stack([torch.cat([src, dst, loops]), torch.cat([dst, src, loops])])
    adj = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (n, n), check_invariants=True).coalesce().to_dense().clamp(max=1)
    d = adj.sum(1).rsqrt()
    return d[:, None] * adj * d[None, :]


class GraphConvolution(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, adj):
        return adj @ (x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, n_feat, n_hid, n_class, dropout):
        super().__init__()
        self.gc1 = GraphConvolution(n_feat, n_hid)
        self.gc2 = GraphConvolution(n_hid, n_class)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


digits = load_digits()
keep = torch.randperm(len(digits.target))[:700].numpy()
features = torch.tensor(digits.data[keep], dtype=torch.float32)
features = (features - features.mean()) / features.std()
labels = torch.tensor(digits.target[keep])
adj = normalised_adjacency(digits.data[keep], k=6)

order = torch.randperm(700)
train_mask, val_mask, test_mask = torch.zeros(3, 700, dtype=torch.bool)
train_mask[order[:140]] = True
val_mask[order[140:300]] = True
test_mask[order[300:]] = True

model = GCN(64, 32, 10, dropout=0.5)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

for epoch in range(1, 101):
    model.train()
    optimizer.zero_grad()
    output = model(features, adj)
    loss_train = F.nll_loss(output[train_mask], labels[train_mask])
    loss_train.backward()
    optimizer.step()

    model.eval()
    with torch.no_grad():
        output = model(features, adj)
        loss_val = F.nll_loss(output[val_mask], labels[val_mask])
        acc_val = (output[val_mask].argmax(1) == labels[val_mask]).float().mean()
    if epoch % 20 == 0:
        print(f"Epoch: {epoch:04d} loss_train: {loss_train.item():.4f} loss_val: {loss_val.item():.4f} acc_val: {acc_val.item():.4f}")

acc_test = (output[test_mask].argmax(1) == labels[test_mask]).float().mean()
print(f"Test set accuracy: {acc_test.item():.4f}")
