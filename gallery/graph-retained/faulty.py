"""Forecast noisy oscillations one step ahead with a leaky recurrent network, chunk by chunk."""

import math

import torch
from torch import nn

SEED = 6
STREAMS = 16
CHUNK = 8
CHUNKS = 30
EPOCHS = 6


def oscillations(streams, steps, generator):
    """Damped oscillators kicked by noise: x[t] = 2 r cos(w) x[t-1] - r^2 x[t-2] + e[t]."""
    kicks = torch.randn(streams, steps + 50, generator=generator)
    r, w = 0.97, 2 * math.pi / 12
    x = torch.zeros(streams, steps + 50)
    for t in range(2, steps + 50):
        x[:, t] = 2 * r * math.cos(w) * x[:, t - 1] - r**2 * x[:, t - 2] + kicks[:, t]
    return x[:, 50:]  # without the start-up


class LeakyRNN(nn.Module):
    """Units that leak at their own, learned pace."""

    def __init__(self, units=32):
        super().__init__()
        self.units = units
        self.inp = nn.Linear(1, units)
        self.leak = nn.Parameter(torch.linspace(-2.0, 2.0, units))
        self.hid = nn.Linear(units, units)
        self.out = nn.Linear(units, 1)

    def forward(self, series, state):
        keep = torch.sigmoid(self.leak)
        drive = torch.tanh(self.inp(series.unsqueeze(-1)))
        states = []
        for t in range(series.size(1)):
            state = keep * state + (1 - keep) * drive[:, t]
            states.append(state)
        hidden = torch.tanh(self.hid(torch.stack(states, dim=1)))
        return self.out(hidden).squeeze(-1), state


torch.manual_seed(SEED)
generator = torch.Generator().manual_seed(SEED)
steps = CHUNK * CHUNKS + 1
train_series = oscillations(STREAMS, steps, generator)
val_series = oscillations(STREAMS, steps, generator)
spread = train_series.std()
train_series, val_series = train_series / spread, val_series / spread

model = LeakyRNN()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loss_fn = nn.MSELoss()

for epoch in range(EPOCHS):
    model.train()
    train_mse = 0.0
    state = torch.zeros(STREAMS, model.units)
    for i in range(0, CHUNK * CHUNKS, CHUNK):
        x, y = train_series[:, i : i + CHUNK], train_series[:, i + 1 : i + CHUNK + 1]
        prediction, state = model(x, state)
        loss = loss_fn(prediction, y)
        optimizer.zero_grad()
        loss.backward(retain_graph=True)  # fault: state still carries all earlier chunks
        optimizer.step()
        train_mse += loss.item() / CHUNKS

    model.eval()
    with torch.no_grad():
        forecast, _ = model(val_series[:, :-1], torch.zeros(STREAMS, model.units))
        val_mse = loss_fn(forecast, val_series[:, 1:]).item()
    print(f"epoch {epoch + 1}: train mse {train_mse:.4f}, val mse {val_mse:.4f}")

last_value = loss_fn(val_series[:, :-1], val_series[:, 1:]).item()
print(f"final val mse {val_mse:.4f} (repeating the last value: {last_value:.4f})")
