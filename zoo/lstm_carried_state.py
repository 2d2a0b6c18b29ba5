"""Stateful LSTM forecaster: parallel streams, the hidden state is carried (detached) from chunk to chunk."""
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(31)
torch.manual_seed(31)

STREAMS, LENGTH, CHUNK = 24, 480, 24


def make_streams(n, length):
    """sums of two sinusoids whose slow one can only be followed with memory"""
    t = np.arange(length + 1)
    phase = rng.uniform(0, 2 * np.pi, (n, 2, 1))
    period = rng.uniform([[17.0], [55.0]], [[23.0], [75.0]], (n, 2, 1))
    waves = np.sin(2 * np.pi * t / period + phase)
    series = waves[:, 0] + 0.8 * waves[:, 1] + 0.05 * rng.standard_normal((n, length + 1))
    return torch.tensor(series, dtype=torch.float32).unsqueeze(-1)


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        return self.readout(y), state


def detach(state):
    return tuple(s.detach() for s in state)


def chunks(series):
    for start in range(0, series.shape[1] - 1, CHUNK):
        yield series[:, start:start + CHUNK], series[:, start + 1:start + CHUNK + 1]


train_series = make_streams(STREAMS, LENGTH)
valid_series = make_streams(8, LENGTH)
scale = train_series.std()
train_series, valid_series = train_series / scale, valid_series / scale

model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
mse = nn.MSELoss()

for epoch in range(10):
    model.train()
    state, losses = None, []
    for x, y in chunks(train_series):
        optimizer.zero_grad()
        prediction, state = model(x, state)
        state = detach(state)
        loss = mse(prediction, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    model.eval()
    state, val_losses = None, []
    with torch.no_grad():
        for x, y in chunks(valid_series):
            prediction, state = model(x, state)
            val_losses.append(mse(prediction, y).item())
    print(f"epoch {epoch}: train {np.mean(losses):.4f}, valid {np.mean(val_losses):.4f}, last chunk {val_losses[-1]:.4f}")

persistence = mse(valid_series[:, :-1], valid_series[:, 1:]).item()
print(f"valid mse {np.mean(val_losses):.4f} against {persistence:.4f} for 'same as before'")
