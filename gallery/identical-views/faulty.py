"""SimCLR on digits with a linear probe."""
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


class TwoCrops(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def augment(self, img):
        dx, dy = torch.randint(-1, 2, (2,)).tolist()
        img = torch.roll(img, (dx, dy), (0, 1))
        img = img * (0.7 + 0.6 * torch.rand(1)) + 0.1 * torch.randn(8, 8)
        drop = torch.rand(8, 8) < 0.1
        return img.masked_fill(drop, 0.0)

    def __getitem__(self, i):
        v = self.augment(self.images[i])  # fault: one view, given twice
        return v, v


class Encoder(nn.Module):
    def __init__(self, dim=64, proj=32):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 16, dim))
        self.g = nn.Sequential(nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, proj))

    def forward(self, x):
        h = self.f(x.unsqueeze(1))
        return h, F.normalize(self.g(h), dim=1)


def nt_xent(z1, z2, tau):
    n = z1.size(0)
    z = torch.cat([z1, z2])
    sim = z @ z.t() / tau
    sim.fill_diagonal_(-1e9)
    target = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return F.cross_entropy(sim, target)


def probe(enc, xtr, ytr, xte, yte):
    enc.eval()
    with torch.no_grad():
        a, b = enc(xtr)[0].numpy(), enc(xte)[0].numpy()
    enc.train()
    return LogisticRegression(max_iter=300).fit(a[:150], ytr[:150]).score(b, yte)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", default=15, type=int)
    ap.add_argument("--tau", default=0.3, type=float)
    args = ap.parse_args()
    torch.manual_seed(0)
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32) / 16
    perm = torch.randperm(len(x))
    tr, te = perm[:1400], perm[1400:]
    y = d.target
    dl = torch.utils.data.DataLoader(TwoCrops(x[tr]), batch_size=128, shuffle=True, drop_last=True)
    enc = Encoder()
    opt = torch.optim.AdamW(enc.parameters(), lr=2e-3, weight_decay=1e-4)
    for ep in range(args.epochs):
        s = 0
        for v1, v2 in dl:
            loss = nt_xent(enc(v1)[1], enc(v2)[1], args.tau)
            opt.zero_grad()
            loss.backward()
            opt.step()
            s += loss.item()
        if ep % 3 == 2:
            print(f"ep {ep+1} loss {s/len(dl):.3f} probe acc {probe(enc, x[tr], y[tr], x[te], y[te]):.3f}")
