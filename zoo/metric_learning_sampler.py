"""Digit embedding with batch-hard triplets; batches hold P classes with K images each (own batch sampler)."""
import random
from collections import defaultdict

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class PKSampler(Sampler[list[int]]):
    def __init__(self, labels, p, k, rng):
        self.p, self.k, self.rng = p, k, rng
        self.by_class = defaultdict(list)
        for i, label in enumerate(labels):
            self.by_class[int(label)].append(i)
        self.n_batches = len(labels) // (p * k)

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        pools = {c: self.rng.sample(v, len(v)) for c, v in self.by_class.items()}
        for _ in range(self.n_batches):
            ready = sorted(c for c, pool in pools.items() if len(pool) >= self.k)
            if len(ready) < self.p:
                return
            batch = []
            for c in self.rng.sample(ready, self.p):
                batch += [pools[c].pop() for _ in range(self.k)]
            yield batch


def batch_hard(emb, labels, margin=0.3):
    """hardest positive and hardest negative of every anchor"""
    dist = (2 - 2 * emb @ emb.T).clamp(min=1e-8).sqrt()
    same = labels[:, None] == labels[None, :]
    eye = torch.eye(len(labels), dtype=torch.bool)
    hardest_pos = dist.masked_fill(~same | eye, 0.0).max(1).values
    hardest_neg = dist.masked_fill(same, 4.0).min(1).values
    return F.softplus((hardest_pos - hardest_neg + margin) * 5).mean() / 5


class Embedder(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.hidden = nn.Linear(64, 128)
        self.out = nn.Linear(128, dim)

    def forward(self, x):
        return F.normalize(self.out(F.relu(self.hidden(x))))


@torch.no_grad()
def recall_at_1(model, gallery_x, gallery_y, x, y):
    model.eval()
    nearest = torch.cdist(model(x), model(gallery_x)).argmin(1)
    return (gallery_y[nearest] == y).float().mean().item()


rng = random.Random(91)
torch.manual_seed(91)
X, y = load_digits(return_X_y=True)
X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=0.25, random_state=91, stratify=y)
mean, std = X_tr.mean(), X_tr.std()
X_tr, X_te = (torch.tensor((a - mean) / std, dtype=torch.float32) for a in (X_tr, X_te))
y_tr, y_te = torch.tensor(y_tr), torch.tensor(y_te)
loader = DataLoader(TensorDataset(X_tr, y_tr), batch_sampler=PKSampler(y_tr.tolist(), p=8, k=4, rng=rng))

model = Embedder()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
print(f"untrained: recall@1 {recall_at_1(model, X_tr, y_tr, X_te, y_te):.4f}")
for epoch in range(8):
    model.train()
    losses = []
    for xb, yb in loader:
        loss = batch_hard(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch} ({len(losses)} batches): loss {sum(losses) / len(losses):.4f}, "
          f"recall@1 {recall_at_1(model, X_tr, y_tr, X_te, y_te):.4f}")
print("finished")
