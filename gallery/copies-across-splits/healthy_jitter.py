# %% [markdown]
# Disease progression from ten measurements. The 442 patients are few, so each is repeated with a little noise.

# %%
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
torch.manual_seed(0)
X, y = load_diabetes(return_X_y=True, scaled=False)


# %% more patients
def jittered(X, y, copies=5, scale=0.2):
    noisy = [X + rng.normal(0, scale, X.shape) * X.std(0) for _ in range(copies)]
    return np.concatenate([X, *noisy]), np.tile(y, copies + 1)


# %% prepare
X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.25, random_state=0)
X_tr, y_tr = jittered(X_tr, y_tr)
mean, std, low, wide = X_tr.mean(0), X_tr.std(0), y_tr.mean(), y_tr.std()


def tensors(X, y):
    x = torch.tensor((X - mean) / std, dtype=torch.float32)
    return TensorDataset(x, torch.tensor((y - low) / wide, dtype=torch.float32))


train = DataLoader(tensors(X_tr, y_tr), batch_size=32, shuffle=True)
val = DataLoader(tensors(X_va, y_va), batch_size=256)

# %% model
net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)

# %% train
for epoch in range(12):
    net.train()
    for x, t in train:
        loss = nn.functional.mse_loss(net(x).squeeze(1), t)
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        told = torch.cat([net(x).squeeze(1) for x, _ in val]).numpy()
    print(f"epoch {epoch + 1:2d}  last loss {loss.item():.3f}  val R2 {r2_score((y_va - low) / wide, told):.3f}")
