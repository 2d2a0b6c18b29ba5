"""Estimate the drift of random walks of different lengths with a GRU, one walk at a time."""
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(55)
torch.manual_seed(55)


def random_walk():
    """A walk of 4 to 10 steps, as its increments, and its drift."""
    drift = rng.normal()
    steps = rng.integers(4, 11)
    return torch.tensor(drift + rng.normal(scale=0.8, size=(steps, 1)), dtype=torch.float32), drift


def make_walks(n):
    walks, drifts = zip(*(random_walk() for _ in range(n)))
    return list(walks), torch.tensor(drifts, dtype=torch.float32)


class DriftNet(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gru = nn.GRU(1, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, walk):
        _, h = self.gru(walk)
        return self.out(h[-1]).squeeze()


train_walks, train_drifts = make_walks(200)
val_walks, val_drifts = make_walks(60)

model = DriftNet()
loss_fn = nn.MSELoss()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(4):
    model.train()
    epoch_loss = 0.0
    for batch in torch.randperm(len(train_walks)).split(10):
        estimates = torch.stack([model(train_walks[i]) for i in batch])
        loss = loss_fn(estimates, train_drifts[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
        epoch_loss += loss.item() * len(batch)

    model.eval()
    with torch.no_grad():
        estimates = torch.stack([model(walk) for walk in val_walks])
        val_loss = loss_fn(estimates, val_drifts).item()
    print(f"epoch {epoch}: train mse {epoch_loss / len(train_walks):.4f}, val mse {val_loss:.4f}")

print(f"final val mse {val_loss:.4f}")
