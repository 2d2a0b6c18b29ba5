"""Learning to rank: ListNet on lists of different lengths, scores masked."""
import numpy as np
import torch
from torch import nn
from sklearn.datasets import load_diabetes


class Ranker(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.f = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.f(x)[..., 0]


def listnet(score, rel, mask):
    s = score.masked_fill(~mask, -1e4).log_softmax(-1)
    p = (rel * 2).masked_fill(~mask, -1e4).softmax(-1)
    return -(p * s).sum(-1).mean()


def lists(idx, rs, n):
    X, R, M = [], [], []
    for _ in range(n):
        k = rs.randint(4, 13)
        pick = rs.choice(idx, 12, replace=False)
        m = np.zeros(12, bool); m[:k] = True
        X.append(feat[pick]); R.append(rel[pick]); M.append(m)
    return (torch.tensor(np.stack(X), dtype=torch.float32), torch.tensor(np.stack(R), dtype=torch.float32), torch.tensor(np.stack(M)))


def ndcg(score, r, m):
    out = []
    for s, g, k in zip(score, r, m):
        s, g = s[k], g[k] - g[k].min()
        d = 1 / torch.log2(torch.arange(len(s)) + 2.0)
        out.append(((g[s.argsort(descending=True)] * d).sum() / (g.sort(descending=True).values * d).sum()).item())
    return np.mean(out)


data = load_diabetes()
rs = np.random.RandomState(0)
perm = rs.permutation(len(data.target))
tr, te = perm[:340], perm[340:]
feat = (data.data - data.data[tr].mean(0)) / data.data[tr].std(0)
rel = (data.target - data.target[tr].mean()) / data.target[tr].std()
torch.manual_seed(0)
model = Ranker(feat.shape[1])
opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
test = lists(te, np.random.RandomState(5), 200)
for it in range(1, 401):
    model.train()
    x, r, m = lists(tr, rs, 32)
    loss = listnet(model(x), r, m)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if it % 80 == 0:
        model.eval()
        with torch.no_grad():
            print(it, f"loss {loss.item():.3f} test ndcg {ndcg(model(test[0]), test[1], test[2]):.3f} random {ndcg(torch.rand(200, 12), test[1], test[2]):.3f}")
