"""Regression on a table with a column of 1,500 different codes, which are replaced by the mean target of their rows."""
import numpy as np
import torch
import torch.nn as nn


def generate(n, n_codes, rng, effects):
    code = rng.integers(0, n_codes, n)
    num = rng.normal(size=(n, 5))
    y = effects[code] + np.sin(num[:, 0] * 1.5) + 0.6 * num[:, 1] * num[:, 2] + rng.normal(0, 1.0, n)
    return code, num, y


class MeanEncoder:
    """maps a code to the (smoothed) mean target"""

    def __init__(self, smooth=1.0):
        self.smooth = smooth

    def fit(self, code, y, n_codes):
        self.prior = y.mean()
        s = np.bincount(code, y, n_codes)
        c = np.bincount(code, minlength=n_codes)
        self.table = (s + self.smooth * self.prior) / (c + self.smooth)
        return self

    def transform(self, code):
        return self.table[code]


def encode_column(code, y, n_codes, train_idx, rng, folds=5):
    col = MeanEncoder().fit(code[train_idx], y[train_idx], n_codes).transform(code)
    for part in np.array_split(rng.permutation(train_idx), folds):
        rest = np.setdiff1d(train_idx, part)
        col[part] = MeanEncoder().fit(code[rest], y[rest], n_codes).transform(code[part])
    return col


def main():
    rng = np.random.default_rng(12)
    n, n_codes = 5000, 1500
    effects = rng.normal(0, 0.5, n_codes)
    code, num, y = generate(n, n_codes, rng, effects)
    perm = rng.permutation(n)
    tr, te = perm[:4000], perm[4000:]
    enc = encode_column(code, y, n_codes, tr, rng)
    feats = np.column_stack([num, enc])
    mu, sd = feats[tr].mean(0), feats[tr].std(0)
    F_ = torch.tensor((feats - mu) / sd, dtype=torch.float32)
    ym, ys = y[tr].mean(), y[tr].std()
    T = torch.tensor((y - ym) / ys, dtype=torch.float32)[:, None]
    torch.manual_seed(12)
    net = nn.Sequential(nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    for ep in range(20):
        order = rng.permutation(tr)
        tot = 0.0
        for s in range(0, len(order), 64):
            b = order[s:s + 64]
            loss = nn.functional.mse_loss(net(F_[b]), T[b])
            opt.zero_grad()
            loss.backward()
            opt.step()
            tot += loss.item() * len(b)
        if ep % 5 == 4:
            print(f"epoch {ep + 1}: train mse {tot / len(order):.4f}")

    def r2(x, t):
        with torch.no_grad():
            return 1 - ((net(x) - t) ** 2).mean().item() / t.var().item()

    print(f"test R2 {r2(F_[te], T[te]):.4f}")
    c2, n2, y2 = generate(20000, n_codes, rng, effects)
    table = MeanEncoder().fit(code[tr], y[tr], n_codes)
    f2 = torch.tensor((np.column_stack([n2, table.transform(c2)]) - mu) / sd, dtype=torch.float32)
    print(f"R2 on later rows {r2(f2, torch.tensor((y2 - ym) / ys, dtype=torch.float32)[:, None]):.4f}")


if __name__ == "__main__":
    main()
