#!/usr/bin/env python
# coding: utf-8
"""Breast-cancer diagnosis with a tiny network (exported from a notebook)."""
# %% [markdown]
# # Breast cancer
# Binary classification of the Wisconsin data, one logit out.

# %%
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

SEED = 42
np.random.seed(SEED)
torch.manual_seed(SEED);

# %%
bunch = load_breast_cancer()
bunch.data.shape, bunch.target.mean()

# %%
perm = np.random.permutation(len(bunch.data))
n_val = 114
val_idx, trn_idx = perm[:n_val], perm[n_val:]
mu = bunch.data[trn_idx].mean(0)
sd = bunch.data[trn_idx].std(0)
data = torch.tensor((bunch.data - mu) / sd).float()
target = torch.tensor(bunch.target).float()
xt, yt = data[trn_idx], target[trn_idx]
xv, yv = data[val_idx], target[val_idx]
xt.shape, xv.shape

# %% [markdown]
# ## Model

# %%
net = torch.nn.Sequential(
    torch.nn.Linear(30, 16),
    torch.nn.Tanh(),
    torch.nn.Linear(16, 1),
)
net

# %%
sum(p.numel() for p in net.parameters())

# %%
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
ds = torch.utils.data.TensorDataset(xt, yt)
dl = torch.utils.data.DataLoader(ds, batch_size=32, shuffle=True)
history = {"loss": [], "val_loss": [], "val_auc": []}

# %%
for epoch in range(12):
    net.train()
    losses = []
    sizes = []
    for xb, yb in dl:
        loss = F.binary_cross_entropy_with_logits(net(xb)[:, 0], yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        sizes.append(len(xb))
    net.eval()
    with torch.no_grad():
        z = net(xv)[:, 0]
        val_loss = F.binary_cross_entropy_with_logits(z, yv).item()
    history["loss"].append(np.average(losses, weights=sizes))
    history["val_loss"].append(val_loss)
    history["val_auc"].append(roc_auc_score(yv.numpy(), torch.sigmoid(z).numpy()))
    print(epoch, *(f"{k}={v[-1]:.4f}" for k, v in history.items()))

# %%
best = int(np.argmin(history["val_loss"]))
print("lowest validation loss in epoch", best, "AUC there", round(history["val_auc"][best], 4))

# %% [markdown]
# Looks fine. A bigger net does not help.
