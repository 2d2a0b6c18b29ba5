"""
lowbit.py -- train a 4-bit network on the handwritten digits (quantisation-aware)
"""
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit


def quantize(w, bits):
    levels = 2 ** (bits - 1) - 1
    scale = w.abs().max().clamp(min=1e-8) / levels
    return torch.round(w / scale) * scale


class QuantLinear(nn.Linear):
    def __init__(self, n_in, n_out, bits=4):
        super().__init__(n_in, n_out)
        self.bits = bits

    def forward(self, x):
        self.weight.data = quantize(self.weight.data, self.bits)  # fault: what the step changed is rounded away
        return F.linear(x, self.weight, self.bias)


class QuantConv(nn.Conv2d):
    def __init__(self, n_in, n_out, bits=4):
        super().__init__(n_in, n_out, kernel_size=3, padding=1)
        self.bits = bits

    def forward(self, x):
        self.weight.data = quantize(self.weight.data, self.bits)
        return F.conv2d(x, self.weight, self.bias, padding=1)


def build(bits):
    conv, lin = partial(QuantConv, bits=bits), partial(QuantLinear, bits=bits)
    return nn.Sequential(
        conv(1, 12), nn.ReLU(), nn.MaxPool2d(2),
        conv(12, 24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), lin(96, 48), nn.ReLU(), lin(48, 10),
    )


def load(seed):
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X, dtype=torch.float32).div(16).sub(0.3).reshape(-1, 1, 8, 8)
    y = torch.tensor(y)
    tr, te = next(StratifiedShuffleSplit(1, test_size=0.3, random_state=seed).split(X, y))
    return X[tr], y[tr], X[te], y[te]


def run(bits=4, epochs=16, batch=50, lr=1e-3, seed=2):
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = load(seed)
    net = build(bits)
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs)
    for ep in range(1, epochs + 1):
        net.train()
        seen = 0.0
        for idx in torch.randperm(len(Xtr)).split(batch):
            out = net(Xtr[idx])
            loss = F.cross_entropy(out, ytr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            seen += loss.item() * len(idx)
        sched.step()
        net.eval()
        with torch.inference_mode():
            acc = (net(Xte).argmax(1) == yte).float().mean().item()
        print(f"{bits}-bit  ep {ep:2d}  loss {seen / len(Xtr):.4f}  acc {acc:.4f}")


run()
