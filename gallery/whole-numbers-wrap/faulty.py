"""Locate a moving target in grey-scale frames from a static camera (background subtraction + small CNN)."""
import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Camera:
    """Static textured scene with sensor noise; one soft blob somewhere in view."""

    def __init__(self, side=24, seed=0):
        self.side = side
        self.rng = np.random.default_rng(seed)
        coarse = np.random.default_rng(9).uniform(60, 190, (6, 6))
        self.scene = np.kron(coarse, np.ones((side // 6, side // 6)))

    def shot(self, target=True):
        img = self.scene + self.rng.normal(0, 4, self.scene.shape)
        pos = self.rng.uniform(3, self.side - 3, 2)
        if target:
            yy, xx = np.mgrid[:self.side, :self.side]
            bump = np.exp(-((yy - pos[0]) ** 2 + (xx - pos[1]) ** 2) / 6.0)
            img = img + self.rng.choice([-1, 1]) * self.rng.uniform(30, 50) * bump
        return np.clip(img, 0, 255).astype(np.uint8), pos / self.side


def collect(cam, n):
    frames, coords = zip(*(cam.shot() for _ in range(n)))
    return np.stack(frames), np.stack(coords).astype(np.float32)


def preprocess(frames, background):
    diff = frames - background  # fault: 0 - 1 is 255 in uint8
    diff = diff.astype(np.float32)
    return torch.from_numpy(diff).unsqueeze(1)


class Locator(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.LeakyReLU(0.1), nn.AvgPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.LeakyReLU(0.1), nn.AvgPool2d(2),
        )
        self.head = nn.Sequential(nn.Linear(24 * 36, 64), nn.LeakyReLU(0.1), nn.Linear(64, 2))

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def main(args):
    torch.manual_seed(args.seed)
    cam = Camera(seed=args.seed)
    empty = np.stack([cam.shot(target=False)[0] for _ in range(50)])
    background = np.round(empty.mean(0)).astype(np.uint8)
    frames, xy = collect(cam, args.n_train)
    frames_t, xy_t = collect(cam, 400)

    X, Xt = preprocess(frames, background), preprocess(frames_t, background)
    mean, std = X.mean(), X.std()
    X, Xt = (X - mean) / std, (Xt - mean) / std
    Y, Yt = torch.from_numpy(xy), torch.from_numpy(xy_t)

    net = Locator()
    opt = torch.optim.Adam(net.parameters(), lr=args.lr)
    chance = (Yt - Y.mean(0)).norm(dim=1).mean().item()
    print(f"always-centre error {chance:.3f}")
    for epoch in range(args.epochs):
        net.train()
        total = 0.0
        for chunk in torch.randperm(len(X)).split(args.batch):
            loss = F.smooth_l1_loss(net(X[chunk]), Y[chunk], beta=0.1)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(chunk)
        net.eval()
        with torch.no_grad():
            err = (net(Xt) - Yt).norm(dim=1).mean().item()
        print(f"epoch {epoch:2d}  loss {total / len(X):.4f}  mean distance {err:.3f}")


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--n-train", type=int, default=1400)
    ap.add_argument("--epochs", type=int, default=8)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--seed", type=int, default=6)
    main(ap.parse_args())
