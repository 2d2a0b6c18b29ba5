"""Triplet embedding of digits, judged by nearest-neighbour retrieval."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Triplets(Dataset):
  def __init__(self, x, y, seed):
    self.x, self.y = x, y
    self.rng = np.random.default_rng(seed)
    self.index = [np.flatnonzero(y == c) for c in range(10)]

  def __len__(self):
    return len(self.x)

  def __getitem__(self, i):
    c = self.y[i]
    pos = i
    while pos == i:
      pos = self.rng.choice(self.index[c])
    other = (c + self.rng.integers(1, 10)) % 10
    neg = self.rng.choice(self.index[other])
    return self.x[i], self.x[pos], self.x[neg]


class Net(nn.Module):
  def __init__(self, dim=12):
    super().__init__()
    self.layers = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, dim))

  def forward(self, x):
    return F.normalize(self.layers(x), dim=1)


def knn_score(net, x_tr, y_tr, x_va, y_va):
  net.eval()
  with torch.no_grad():
    a, b = net(x_tr).numpy(), net(x_va).numpy()
  net.train()
  return KNeighborsClassifier(3).fit(a, y_tr).score(b, y_va)


def main():
  torch.manual_seed(8)
  digits = load_digits()
  order = np.random.RandomState(8).permutation(len(digits.target))
  tr, va = order[:1300], order[1300:]
  mean, std = digits.data[tr].mean(0), digits.data[tr].std(0) + 0.5
  x = torch.from_numpy(((digits.data - mean) / std).astype(np.float32))
  y = digits.target
  loader = DataLoader(Triplets(x[tr], y[tr], seed=8), batch_size=50, shuffle=True)
  net = Net()
  criterion = nn.TripletMarginLoss(margin=0.5)
  opt = torch.optim.Adam(net.parameters(), lr=1e-3)
  print(f"untrained knn accuracy {knn_score(net, x[tr], y[tr], x[va], y[va]):.4f}")
  for epoch in range(6):
    total, violated, n = 0., 0, 0
    for anchor, pos, neg in loader:
      opt.zero_grad()
      ea, ep, en = net(anchor), net(pos), net(neg)
      loss = criterion(ea, ep, en)
      loss.backward()
      opt.step()
      total += loss.item() * len(anchor)
      violated += ((ea - ep).norm(dim=1) > (ea - en).norm(dim=1)).sum().item()
      n += len(anchor)
    acc = knn_score(net, x[tr], y[tr], x[va], y[va])
    print(f"epoch {epoch} loss {total / n:.4f} violated {violated / n:.4f} knn accuracy {acc:.4f}")
  print(f"final knn accuracy {acc:.4f}")


if __name__ == "__main__":
  main()
