"""Chirp / siren / click-train / hum recognition from log-spectrograms with SpecAugment-like masks."""
import math
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

CLASSES = ("up_chirp", "down_chirp", "siren", "clicks", "hum")


def waveform(label, g):
    n, sr = 2048, 4000
    t = torch.arange(n) / sr
    r = lambda lo, hi: lo + (hi - lo) * torch.rand(1, generator=g).item()
    f0, f1 = r(200, 500), r(1000, 1600)
    if label == "up_chirp":
        x = torch.sin(2 * math.pi * (f0 * t + (f1 - f0) * t * t / (2 * n / sr)))
    elif label == "down_chirp":
        x = torch.sin(2 * math.pi * (f1 * t - (f1 - f0) * t * t / (2 * n / sr)))
    elif label == "siren":
        x = torch.sin(2 * math.pi * 800 * t + r(20, 40) * torch.sin(2 * math.pi * r(4, 7) * t))
    elif label == "clicks":
        x = (torch.rand(n, generator=g) < 0.01).float() * 4
    else:
        f = r(100, 250)
        x = torch.sin(2 * math.pi * f * t) + 0.5 * torch.sin(6 * math.pi * f * t)
    return x + 0.5 * torch.randn(n, generator=g)


def log_spec(x):
    s = torch.stft(x, n_fft=128, hop_length=64, window=torch.hann_window(128), return_complex=True).abs()
    s = torch.log1p(s)[:64, :32]
    return (s - s.mean()) / s.std()


class SoundSet(Dataset):
    """Spectrograms are computed once, on first access, and kept."""

    def __init__(self, n, seed, train):
        self.seed, self.n, self.train = seed, n, train
        self.store = {}

    def __len__(self):
        return self.n

    def _load(self, i):
        if i not in self.store:
            g = torch.Generator().manual_seed(self.seed * 100_003 + i)
            self.store[i] = log_spec(waveform(CLASSES[i % len(CLASSES)], g))
        return self.store[i]

    def __getitem__(self, i):
        spec = self._load(i).clone()
        if self.train:
            f, w = random.randrange(0, 56), random.randrange(2, 9)
            spec[f:f + w, :] = 0.0
            t, w = random.randrange(0, 27), random.randrange(1, 6)
            spec[:, t:t + w] = 0.0
        return spec.unsqueeze(0), i % len(CLASSES)


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())


class SpecCNN(nn.Sequential):
    def __init__(self):
        super().__init__(conv(1, 8), conv(8, 16), conv(16, 32), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 8 * 4, len(CLASSES)))


def epoch_pass(model, loader, opt=None):
    model.train(opt is not None)
    loss_sum = hits = n = 0
    with torch.set_grad_enabled(opt is not None):
        for x, y in loader:
            z = model(x)
            loss = nn.functional.cross_entropy(z, y)
            if opt is not None:
                opt.zero_grad()
                loss.backward()
                opt.step()
            loss_sum += loss.item() * len(y)
            hits += (z.argmax(1) == y).sum().item()
            n += len(y)
    return loss_sum / n, hits / n


if __name__ == "__main__":
    random.seed(0)
    torch.manual_seed(0)
    train_dl = DataLoader(SoundSet(600, 1, True), batch_size=30, shuffle=True)
    test_dl = DataLoader(SoundSet(200, 2, False), batch_size=100)
    model = SpecCNN()
    opt = torch.optim.Adam(model.parameters(), lr=5e-4)
    for epoch in range(25):
        l, a = epoch_pass(model, train_dl, opt)
        vl, va = epoch_pass(model, test_dl)
        print(f"{epoch:2d} train {l:.3f}/{a:.3f} test {vl:.3f}/{va:.3f}")
