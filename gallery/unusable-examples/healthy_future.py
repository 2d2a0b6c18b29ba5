"""Forecasts of a daily load, 12 steps at once; the last windows have no future yet, which is NaN and is what is asked for."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(5)
day = np.arange(1400)
load = 10 + 3 * np.sin(day / 7 * 2 * np.pi) + 2 * np.sin(day / 60) + rng.normal(0, 0.4, len(day))
load = ((load - load[:1000].mean()) / load[:1000].std()).astype("float32")
PAST, AHEAD = 28, 12


class Windows(Dataset):
    """Past and future of each day; unknown future days are NaN."""

    def __init__(self, series, begin, end):
        self.series = np.concatenate([series, np.full(AHEAD, np.nan, "float32")])
        self.begin, self.end = begin, end

    def __len__(self):
        return self.end - self.begin

    def __getitem__(self, i):
        t = self.begin + i
        return self.series[t - PAST : t + AHEAD]


train = DataLoader(Windows(load, PAST, 1000 - AHEAD), batch_size=32, shuffle=True)
recent = DataLoader(Windows(load, 1000, len(load) + 1), batch_size=64)

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(PAST, 48), nn.ReLU(), nn.Linear(48, AHEAD))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(15):
    total = 0.0
    for window in train:
        past, future = window[:, :PAST], window[:, PAST:]
        loss = nn.functional.mse_loss(net(past), future)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total / len(train):.3f}")

net.eval()
with torch.no_grad():
    errors, ahead = [], None
    for window in recent:
        past, future = window[:, :PAST], window[:, PAST:]
        told = net(past)
        known = ~future.isnan()
        errors.append((told - future)[known].abs())
        ahead = told[-1]
print("mean absolute error", torch.cat(errors).mean().item(), "next days", ahead[:3].tolist())
