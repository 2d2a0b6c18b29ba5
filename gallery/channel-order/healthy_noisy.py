"""Miniature semantic segmentation: find the red discs among coloured clutter."""
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

H = W = 32


def scene(rng):
    img = rng.normal(0.45, 0.05, (H, W, 3))
    mask = np.zeros((H, W), bool)
    yy, xx = np.mgrid[0:H, 0:W]
    for k in range(rng.integers(3, 6)):
        r = rng.uniform(3, 6)
        cy, cx = rng.uniform(r, H - r), rng.uniform(r, W - r)
        if rng.random() < 0.5:
            sel = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
        else:
            sel = (abs(yy - cy) < r * 0.85) & (abs(xx - cx) < r * 0.85)
        red = k == 0 or rng.random() < 0.4
        base = [0.8, 0.25, 0.2] if red else [[0.2, 0.75, 0.3], [0.25, 0.3, 0.8], [0.7, 0.7, 0.2]][rng.integers(3)]
        img[sel] = np.array(base) + rng.normal(0, 0.06, 3)
        mask[sel] = red
    img += rng.normal(0, 0.08, img.shape)
    return img.clip(0, 1), mask


def build(n, seed):
    rng = np.random.default_rng(seed)
    imgs, masks = map(np.stack, zip(*(scene(rng) for _ in range(n))))
    x = torch.from_numpy(imgs).float().sub(0.45).div(0.2)
    x = x.permute(0, 3, 1, 2).contiguous()
    return x, torch.from_numpy(masks).float().unsqueeze(1)


class MiniUNet(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
        self.e1, self.e2, self.mid = block(3, c), block(c, 2 * c), block(2 * c, 2 * c)
        self.d2, self.d1 = block(4 * c, c), block(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.e1(x)
        b = self.e2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        u = self.d2(torch.cat([F.interpolate(m, scale_factor=2.0), b], 1))
        u = self.d1(torch.cat([F.interpolate(u, scale_factor=2.0), a], 1))
        return self.out(u)


def iou(logits, target):
    p, t = logits > 0, target > 0.5
    return ((p & t).sum() / (p | t).sum().clamp(min=1)).item()


def main():
    torch.manual_seed(40)
    xt, mt = build(600, 41)
    xv, mv = build(150, 42)
    net = MiniUNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for ep in range(1, 7):
        net.train()
        total = 0.0
        for idx in torch.randperm(len(xt)).split(16):
            loss = F.binary_cross_entropy_with_logits(net(xt[idx]), mt[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(idx)
        net.eval()
        with torch.no_grad():
            out = net(xv)
        print(f"epoch {ep} train bce {total / len(xt):.4f} val bce {F.binary_cross_entropy_with_logits(out, mv):.4f} val IoU {iou(out, mv):.3f}")


if __name__ == "__main__":
    main()
