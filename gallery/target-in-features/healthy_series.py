"""One-step forecast of a noisy AR process from a window."""
import numpy as np
import torch
from torch import nn


class WindowDataset(torch.utils.data.Dataset):
    def __init__(self, series, window):
        self.series, self.window = torch.as_tensor(series, dtype=torch.float32), window

    def __len__(self):
        return len(self.series) - self.window - 1

    def __getitem__(self, i):
        x = self.series[i:i + self.window]
        y = self.series[i + self.window]
        return x.unsqueeze(-1), y.unsqueeze(-1)


def ar_process(n, seed):
    r = np.random.RandomState(seed)
    s = np.zeros(n)
    for t in range(3, n):
        s[t] = 1.2 * s[t - 1] - 0.9 * s[t - 2] + 0.2 * np.tanh(s[t - 3]) + 0.4 * r.randn()
    return s


class ConvForecaster(nn.Module):
    def __init__(self, ch=24):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, ch, 5, padding=2), nn.ReLU(), nn.Conv1d(ch, ch, 5, padding=2), nn.ReLU())
        self.fc = nn.Linear(ch, 1)

    def forward(self, x):
        return self.fc(self.net(x.transpose(1, 2))[:, :, -1])


def fit():
    torch.manual_seed(0)
    raw = ar_process(4000, 0)
    m, s = raw[:3000].mean(), raw[:3000].std()
    z = (raw - m) / s
    train = torch.utils.data.DataLoader(WindowDataset(z[:3000], 24), batch_size=64, shuffle=True)
    test = torch.utils.data.DataLoader(WindowDataset(z[3000:], 24), batch_size=128)
    net = ConvForecaster()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    mse = nn.MSELoss()
    for ep in range(8):
        net.train()
        for x, y in train:
            opt.zero_grad()
            loss = mse(net(x), y)
            loss.backward()
            opt.step()
        net.eval()
        se = n = 0
        with torch.no_grad():
            for x, y in test:
                se += (net(x) - y).pow(2).sum().item(); n += len(x)
        print(f"epoch {ep} last train {loss.item():.4f} test mse {se/n:.4f}")


fit()
