"""Train a sine-wave forecaster and keep a checkpoint of every epoch."""

import math
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    """Noisy sums of two sines; the next value is to be told from the last 24."""

    def __init__(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        time = torch.arange(25)
        pace = torch.rand(n, 2, 1, generator=generator) * 0.5 + 0.1
        phase = torch.rand(n, 2, 1, generator=generator) * 2 * math.pi
        self.series = torch.sin(pace * time + phase).sum(1) + 0.05 * torch.randn(n, 25, generator=generator)

    def __len__(self):
        return len(self.series)

    def __getitem__(self, i):
        return self.series[i, :-1].unsqueeze(-1), self.series[i, -1]


class Forecaster(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 1)

    def forward(self, x):
        output, _ = self.gru(x)
        return self.readout(output[:, -1]).squeeze(-1)


def save(folder, epoch, model, optimizer):
    state = {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, os.path.join(folder, f"epoch{epoch}.pt"))


def main():
    torch.manual_seed(12)
    folder = tempfile.mkdtemp()
    train_loader = DataLoader(Waves(800, 1), batch_size=50, shuffle=True)
    test_loader = DataLoader(Waves(200, 2), batch_size=100)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(5):
        model.train()
        for x, y in train_loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            error = sum((model(x) - y).abs().sum().item() for x, y in test_loader) / 200
        save(folder, epoch, model, optimizer)
        print(f"epoch {epoch}: mean absolute error {error:.4f}")


if __name__ == "__main__":
    main()
