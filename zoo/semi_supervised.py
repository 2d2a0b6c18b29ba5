"""Semi-supervised digits: few labelled scans, all scans reconstructed."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

UNLABELLED = -1


class SharedNet(nn.Module):
    def __init__(self, n_in=64, n_code=32, n_classes=10):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_in, 96), nn.SiLU(), nn.Linear(96, n_code), nn.SiLU())
        self.decoder = nn.Sequential(nn.Linear(n_code, 96), nn.SiLU(), nn.Linear(96, n_in))
        self.classify = nn.Linear(n_code, n_classes)

    def forward(self, x):
        z = self.encoder(x)
        return self.classify(z), self.decoder(z)


class SemiTrainer:
    def __init__(self, model, lr=1.5e-3, batch_size=32, recon_weight=1.0):
        self.model = model
        self.opt = torch.optim.Adam(model.parameters(), lr=lr)
        self.batch_size = batch_size
        self.recon_weight = recon_weight
        self.history = []

    def losses(self, x, y):
        logits, recon = self.model(x)
        known = (y != UNLABELLED).sum().clamp(min=1)
        sup = F.cross_entropy(logits, y, ignore_index=UNLABELLED, reduction="sum") / known
        rec = F.mse_loss(recon, x)
        return sup, rec

    def fit_epoch(self, x, y):
        self.model.train()
        order = torch.randperm(len(x))
        sups, recs = [], []
        for start in range(0, len(x), self.batch_size):
            sel = order[start:start + self.batch_size]
            sup, rec = self.losses(x[sel], y[sel])
            total = sup + self.recon_weight * rec
            self.opt.zero_grad(set_to_none=True)
            total.backward()
            self.opt.step()
            sups.append(sup.item())
            recs.append(rec.item())
        self.history.append((np.mean(sups), np.mean(recs)))
        return self.history[-1]

    @torch.no_grad()
    def score(self, x, y):
        self.model.eval()
        return (self.model(x)[0].argmax(1) == y).float().mean().item()


def prepare(seed, labelled_fraction=0.12):
    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    order = rng.permutation(len(x))
    x, y = x[order], y[order]
    tr, te = slice(0, 1400), slice(1400, None)
    mu = x[tr].mean()
    sd = x[tr].std()
    x = torch.tensor((x - mu) / sd, dtype=torch.float32)
    y_known = y[tr].copy()
    y_known[rng.random(1400) > labelled_fraction] = UNLABELLED
    return x[tr], torch.tensor(y_known), x[te], torch.tensor(y[te])


if __name__ == "__main__":
    torch.manual_seed(21)
    xtr, ytr, xte, yte = prepare(21)
    print("labelled scans:", int((ytr != UNLABELLED).sum()), "of", len(ytr))
    trainer = SemiTrainer(SharedNet())
    for ep in range(30):
        s, r = trainer.fit_epoch(xtr, ytr)
        if ep % 3 == 0 or ep == 29:
            print(f"[{ep:02d}] sup {s:.4f}  rec {r:.4f}  test acc {trainer.score(xte, yte):.3f}")
