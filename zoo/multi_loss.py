"""Two heads on digits: which digit it is, and how much ink was used (weighted sum of both losses)."""
from collections import defaultdict

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

CLASS_WEIGHT = 1.0
INK_WEIGHT = 0.5
EPOCHS = 8


def get_data():
    digits = load_digits()
    pixels = torch.tensor(digits.data, dtype=torch.float32)
    ink = pixels.sum(dim=1)
    labels = torch.tensor(digits.target)
    train_idx, val_idx = train_test_split(range(len(labels)), test_size=300, random_state=1, stratify=digits.target)
    pixels = (pixels - pixels[train_idx].mean()) / pixels[train_idx].std()
    ink = (ink - ink[train_idx].mean()) / ink[train_idx].std()
    make = lambda idx: TensorDataset(pixels[idx], labels[idx], ink[idx])
    return make(train_idx), make(val_idx)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 80), nn.LeakyReLU(0.1), nn.Linear(80, 40), nn.LeakyReLU(0.1))
        self.digit_head = nn.Linear(40, 10)
        self.ink_head = nn.Linear(40, 1)

    def forward(self, x):
        h = self.trunk(x)
        return {"digit": self.digit_head(h), "ink": self.ink_head(h).squeeze(1)}


def compute_losses(out, digit, ink):
    ce = nn.functional.cross_entropy(out["digit"], digit)
    mse = nn.functional.mse_loss(out["ink"], ink)
    return {"ce": ce, "mse": mse, "total": CLASS_WEIGHT * ce + INK_WEIGHT * mse}


def epoch_pass(model, loader, optimizer=None):
    training = optimizer is not None
    model.train(training)
    sums = defaultdict(float)
    with torch.set_grad_enabled(training):
        for x, digit, ink in loader:
            out = model(x)
            losses = compute_losses(out, digit, ink)
            if training:
                optimizer.zero_grad(set_to_none=True)
                losses["total"].backward()
                optimizer.step()
            for key, value in losses.items():
                sums[key] += value.detach().item() * len(x)
            sums["acc"] += (out["digit"].argmax(1) == digit).sum().item()
    n = len(loader.dataset)
    return {key: value / n for key, value in sums.items()}


def main():
    torch.manual_seed(1)
    train, val = get_data()
    train_loader = DataLoader(train, 48, shuffle=True)
    val_loader = DataLoader(val, 128)
    model = TwoHeads()
    optimizer = optim.Adam(model.parameters(), lr=1.5e-3)
    for epoch in range(EPOCHS):
        tr = epoch_pass(model, train_loader, optimizer)
        va = epoch_pass(model, val_loader)
        print(epoch, "train", {k: round(v, 4) for k, v in tr.items()}, "val", {k: round(v, 4) for k, v in va.items()})
    print(f"digit accuracy {va['acc']:.3f}, ink mse {va['mse']:.4f}")


main()
