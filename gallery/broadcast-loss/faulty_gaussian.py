"""Estimate the frequency of noisy waves, with an error bar, using an LSTM and a Gaussian likelihood."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

LENGTH = 24


class Waves(Dataset):
    """Noisy sine waves of random phase and amplitude; the target is the standardised frequency."""

    def __init__(self, size, seed):
        g = torch.Generator().manual_seed(seed)
        frequency = torch.rand(size, generator=g) * 1.6 + 0.4
        phase = torch.rand(size, 1, generator=g) * 2 * math.pi
        amplitude = torch.rand(size, 1, generator=g) * 0.5 + 1.0
        t = torch.linspace(0, 2 * math.pi, LENGTH)
        signal = amplitude * torch.sin(frequency[:, None] * t + phase)
        self.signal = signal + 0.05 * torch.randn(size, LENGTH, generator=g)
        self.target = (frequency - 1.2) / 0.46  # fault: targets (N,) against means (N, 1) broadcast to (N, N)

    def __len__(self):
        return len(self.signal)

    def __getitem__(self, i):
        return self.signal[i].unsqueeze(-1), self.target[i]


class Estimator(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.mean = nn.Linear(hidden, 1)
        self.log_var = nn.Linear(hidden, 1)

    def forward(self, signal):
        out, _ = self.lstm(signal)
        pooled = out.mean(dim=1)
        return self.mean(pooled), self.log_var(pooled).clamp(-6, 4).exp()


def train(model, loader, criterion, optimizer):
    model.train()
    for signal, target in loader:
        mean, var = model(signal)
        loss = criterion(mean, target, var)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


@torch.no_grad()
def evaluate(model, loader, criterion):
    model.eval()
    nll = error = count = 0
    for signal, target in loader:
        mean, var = model(signal)
        nll += criterion(mean, target, var).item() * len(signal)
        error += (mean.flatten() - target.flatten()).abs().sum().item()
        count += len(signal)
    return nll / count, error / count


if __name__ == "__main__":
    torch.manual_seed(9)
    train_loader = DataLoader(Waves(1200, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(Waves(300, seed=2), batch_size=100)
    model = Estimator()
    criterion = nn.GaussianNLLLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(8):
        train(model, train_loader, criterion, optimizer)
        nll, mae = evaluate(model, val_loader, criterion)
        print(f"epoch {epoch}  val nll {nll:+.3f}  val mean abs error {mae:.3f}")
    print(f"final val mean abs error {mae:.3f}")
