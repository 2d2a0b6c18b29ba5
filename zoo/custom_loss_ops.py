"""Iris species with a loss written out from elementary tensor operations."""
import numpy as np
import torch
from sklearn import datasets, preprocessing
from torch import nn


class FocalLoss(nn.Module):
    """mean over the batch of -(1 - p)^gamma * log p of the true class, through a hand-made log-softmax"""

    def __init__(self, gamma=1.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, scores, target):
        top = scores.max(dim=1, keepdim=True).values.detach()
        shifted = scores - top
        log_norm = torch.log(torch.exp(shifted).sum(dim=1))
        picked = shifted[torch.arange(len(target)), target]
        log_p = picked - log_norm
        p = torch.exp(log_p)
        return -((1.0 - p) ** self.gamma * log_p).mean()


def l2_penalty(model):
    total = 0.0
    for name, weight in model.named_parameters():
        if name.endswith("weight"):
            total = total + (weight * weight).sum()
    return total


def batches(x, y, size, generator):
    order = torch.randperm(len(x), generator=generator)
    for start in range(0, len(x), size):
        take = order[start:start + size]
        yield x[take], y[take]


def run():
    torch.manual_seed(22)
    g = torch.Generator()
    g.manual_seed(22)
    x, y = datasets.load_iris(return_X_y=True)
    x, first = np.unique(x, axis=0, return_index=True)  # iris holds one flower twice
    x = torch.as_tensor(x, dtype=torch.float32)
    y = torch.as_tensor(y[first])
    order = torch.randperm(len(x), generator=g)
    tr, te = order[:110], order[110:]
    scaler = preprocessing.StandardScaler().fit(x[tr].numpy())
    x = torch.as_tensor(scaler.transform(x.numpy()), dtype=torch.float32)

    model = nn.Sequential(nn.Linear(4, 20), nn.ELU(), nn.Linear(20, 3))
    loss_fn = FocalLoss()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    for epoch in range(1, 31):
        model.train()
        total = 0.0
        for xb, yb in batches(x[tr], y[tr], 22, g):
            optimiser.zero_grad()
            loss = loss_fn(model(xb), yb) + 1e-4 * l2_penalty(model)
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(xb)
        if epoch % 5 == 0:
            model.eval()
            with torch.inference_mode():
                out = model(x[te])
                acc = (out.argmax(1) == y[te]).float().mean().item()
                print(f"{epoch:3d} train {total / len(tr):.4f} test {loss_fn(out, y[te]).item():.4f} acc {acc:.3f}")
    return acc


accuracy = run()
print("test accuracy", f"{accuracy:.3f}")
