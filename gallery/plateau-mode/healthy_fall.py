"""Digits squeezed into twelve numbers and unfolded again; the rate drops when held-out images come back no better."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

torch.manual_seed(12)
images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
images = images[torch.randperm(len(images))]
held, seen = images[:300], images[300:]

coder = nn.Sequential(
    nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 12), nn.Linear(12, 64), nn.GELU(), nn.Linear(64, 64), nn.Sigmoid()
)
optimizer = torch.optim.AdamW(coder.parameters(), lr=2e-3)
plateau = ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=3)
loader = DataLoader(seen, batch_size=50, shuffle=True)


def unfolded(batch):
    coder.eval()
    with torch.no_grad():
        return float((coder(batch) - batch).pow(2).sum(1).mean())


for epoch in range(14):
    coder.train()
    for batch in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(coder(batch), batch)
        loss.backward()
        optimizer.step()
    outcome = unfolded(held)
    plateau.step(outcome)
    print(f"epoch {epoch:2d}: {outcome:.3f} off per image, rate {optimizer.param_groups[0]['lr']:.1e}")
