"""DeepSurv-like network trained with the Cox partial likelihood on simulated survival data."""
import numpy as np
import torch
import torch.nn as nn


def simulate(n, rng):
    x = rng.normal(size=(n, 8)).astype(np.float32)
    risk = 1.2 * x[:, 0] - 0.8 * x[:, 1] + 0.7 * x[:, 2] * x[:, 3]
    t = rng.exponential(1.0 / np.exp(risk))
    c = rng.exponential(2.0, size=n)
    return x, np.minimum(t, c).astype(np.float32), (t <= c).astype(np.float32)


def cox_loss(risk, time, event):
    order = torch.argsort(time, descending=True)
    risk, event = risk[order], event[order]
    log_cum = torch.logcumsumexp(risk, dim=0)
    return -((risk - log_cum) * event).sum() / event.sum()


def c_index(risk, time, event):
    d = (time[:, None] < time[None, :]) & (event[:, None] == 1)
    conc = (risk[:, None] > risk[None, :]) & d
    return conc.sum().item() / d.sum().item()


rng = np.random.default_rng(0)
torch.manual_seed(0)
train = [torch.from_numpy(a) for a in simulate(1200, rng)]
valid = [torch.from_numpy(a) for a in simulate(400, rng)]

net = nn.Sequential(nn.Linear(8, 32), nn.SELU(), nn.Linear(32, 32), nn.SELU(), nn.Linear(32, 1, bias=False))
opt = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-3)

for it in range(150):
    net.train()
    x, t, e = train
    loss = cox_loss(net(x).squeeze(-1), t, e)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if it % 25 == 24:
        net.eval()
        with torch.no_grad():
            x, t, e = valid
            r = net(x).squeeze(-1)
            print(it + 1, f"train {loss.item():.3f} valid {cox_loss(r, t, e).item():.3f} c-index {c_index(r, t, e):.3f}")
