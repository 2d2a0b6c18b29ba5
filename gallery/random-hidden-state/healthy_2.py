"""Forecasting a noisy oscillator with a GRU that is handed its state."""

import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.width = width
        self.rnn = nn.GRU(2, width)
        self.read = nn.Linear(width, 1)

    def first_state(self, batch: int) -> torch.Tensor:
        return torch.zeros(1, batch, self.width)

    def forward(self, series: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        made, _ = self.rnn(series, state)
        return self.read(made[-1]).squeeze(-1)


def waves(n: int, length: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    phase, pace = 6.3 * torch.rand(n), 0.3 + 0.5 * torch.rand(n)
    t = torch.arange(length + 1).float()[:, None]
    clean = torch.sin(phase + pace * t)
    seen = clean[:-1] + 0.05 * torch.randn(length, n)
    return torch.stack([seen, pace.expand(length, n)], -1), clean[-1]


torch.manual_seed(8)
x, y = waves(1536)
xv, yv = waves(512)
net = Forecaster()
optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
for epoch in range(12):
    for part in torch.randperm(1536).split(48):
        state = net.first_state(len(part))
        loss = nn.functional.mse_loss(net(x[:, part], state), y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        error = nn.functional.mse_loss(net(xv, net.first_state(512)), yv)
    net.train()
    print(f"epoch {epoch}: validation error {error.item():.4f}")
