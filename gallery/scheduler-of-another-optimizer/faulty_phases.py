# %% [markdown]
# Diabetes progression: frozen-embedding warm start, then everything with Adam + cosine decay

# %%
import torch
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

torch.manual_seed(99)
X, y = load_diabetes(return_X_y=True)
idx = torch.randperm(len(X)).numpy()
tr, te = idx[:330], idx[330:]
sx, sy = StandardScaler().fit(X[tr]), StandardScaler().fit(y[tr, None])
f = lambda a: torch.tensor(a, dtype=torch.float32)
Xtr, Xte = f(sx.transform(X[tr])), f(sx.transform(X[te]))
ytr, yte = f(sy.transform(y[tr, None])), f(sy.transform(y[te, None]))

# %%
stem = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Dropout(0.2))
body = nn.Sequential(nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 1))
net = nn.Sequential(stem, body)
loss_fn = nn.SmoothL1Loss()

WARM, FULL, BS = 10, 40, 22


def one_epoch(opt):
    net.train()
    tot = 0.0
    for b in torch.randperm(len(Xtr)).split(BS):
        opt.zero_grad()
        l = loss_fn(net(Xtr[b]), ytr[b])
        l.backward()
        opt.step()
        tot += l.item() * len(b)
    return tot / len(Xtr)


def r2():
    net.eval()
    with torch.no_grad():
        res = yte - net(Xte)
    return (1 - res.pow(2).sum() / (yte - yte.mean()).pow(2).sum()).item()


# %% warm start: stem held still
stem.requires_grad_(False)
optimizer = torch.optim.Adam(body.parameters(), lr=3e-3)
scheduler = CosineAnnealingLR(optimizer, T_max=FULL)  # fault: it belongs to the optimiser of the warm start
for e in range(WARM):
    l = one_epoch(optimizer)
print(f"after warm start: loss {l:.4f} r2 {r2():.3f}")

# %% now everything
stem.requires_grad_(True)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
for e in range(FULL):
    l = one_epoch(optimizer)
    scheduler.step()
    if e % 5 == 4:
        print(f"epoch {e + 1:3d} loss {l:.4f} r2 {r2():.3f} lr {optimizer.param_groups[0]['lr']:.2e}")
