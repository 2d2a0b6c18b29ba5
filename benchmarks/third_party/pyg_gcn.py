"""A graph network on the karate club."""

# needs: torch_geometric
import torch, torch.nn.functional as F
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GCNConv

torch.manual_seed(0)
data = KarateClub()[0]


class GCN(torch.nn.Module):
    def __init__(s):
        super().__init__()
        s.c1 = GCNConv(34, 16)
        s.c2 = GCNConv(16, 4)

    def forward(s, x, e):
        x = F.relu(s.c1(x, e))
        x = F.dropout(x, training=s.training)
        return s.c2(x, e)


model = GCN()
opt = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)


def train():
    model.train()
    opt.zero_grad()
    out = model(data.x, data.edge_index)
    loss = F.cross_entropy(out[data.train_mask], data.y[data.train_mask])
    loss.backward()
    opt.step()
    return float(loss)


@torch.no_grad()
def test():
    model.eval()
    p = model(data.x, data.edge_index).argmax(-1)
    return int((p == data.y).sum()) / 34


for e in range(100):
    l = train()
    a = test()
print(l, a)
