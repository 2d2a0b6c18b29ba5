"""Metric learning with mined triplets."""

# needs: pytorch_metric_learning
import torch, torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from pytorch_metric_learning import losses, miners, distances, reducers, testers
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32) / 16
y = torch.tensor(y)
tr, te = TensorDataset(X[:1400], y[:1400]), TensorDataset(X[1400:], y[1400:])
tl = DataLoader(tr, batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
dist = distances.CosineSimilarity()
red = reducers.ThresholdReducer(low=0)
lf = losses.TripletMarginLoss(margin=0.2, distance=dist, reducer=red)
mf = miners.TripletMarginMiner(margin=0.2, distance=dist, type_of_triplets="semihard")
for ep in range(3):
    model.train()
    for x, t in tl:
        opt.zero_grad()
        e = model(x)
        ind = mf(e, t)
        loss = lf(e, t, ind)
        loss.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        e1, e2 = model(tr.tensors[0]), model(te.tensors[0])
        nn_idx = torch.cdist(e2, e1).argmin(1)
        print(ep, loss.item(), (tr.tensors[1][nn_idx] == te.tensors[1]).float().mean().item())
