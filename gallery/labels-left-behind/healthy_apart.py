"""Round blobs on a noisy picture with bright lines: which pixels belong to a blob. Flipped both ways at random."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def scene(rng, size=24):
    yy, xx = np.mgrid[:size, :size]
    img = rng.normal(0, 0.25, (size, size))
    mask = np.zeros((size, size))
    for _ in range(rng.integers(1, 4)):
        cy, cx, r = rng.uniform(3, size - 3, 2).tolist() + [rng.uniform(2, 4.5)]
        inside = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
        mask[inside] = 1
        img[inside] += 0.8
    for _ in range(2):
        y0 = rng.integers(0, size)
        img[y0] += 0.6
    return img.astype(np.float32), mask.astype(np.float32)


class RandomFlip:
    def __init__(self, p=0.5, seed=0):
        self.p = p
        self.g = np.random.default_rng(seed)

    def __call__(self, *arrays):
        h, v = self.g.random(2) < self.p
        out = []
        for a in arrays:
            if h:
                a = a[:, ::-1]
            if v:
                a = a[::-1]
            out.append(np.ascontiguousarray(a))
        return out if len(out) > 1 else out[0]


class Scenes(torch.utils.data.Dataset):
    def __init__(self, n, seed, augment=False):
        rng = np.random.default_rng(seed)
        self.items = [scene(rng) for _ in range(n)]
        self.flip = RandomFlip(seed=seed) if augment else None

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        img, mask = self.items[i]
        if self.flip:
            img, mask = self.flip(img, mask)
        return torch.from_numpy(img)[None], torch.from_numpy(mask)[None]


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class TinyUNet(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        self.d1, self.d2 = conv(1, c), conv(c, 2 * c)
        self.mid = conv(2 * c, 2 * c)
        self.u1 = conv(3 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.mid(self.d2(F.max_pool2d(a, 2)))
        b = F.interpolate(b, scale_factor=2, mode="nearest")
        return self.out(self.u1(torch.cat([a, b], 1)))


@torch.no_grad()
def iou(net, loader):
    net.eval()
    inter = union = 0
    for x, m in loader:
        p = net(x) > 0
        inter += (p & (m > 0)).sum().item()
        union += (p | (m > 0)).sum().item()
    return inter / union


torch.manual_seed(0)
train = torch.utils.data.DataLoader(Scenes(600, 1, augment=True), batch_size=20, shuffle=True)
val = torch.utils.data.DataLoader(Scenes(200, 2), batch_size=50)
net = TinyUNet()
opt = torch.optim.Adam(net.parameters(), lr=2e-3)
for ep in range(5):
    net.train()
    acc = 0.0
    for x, m in train:
        loss = F.binary_cross_entropy_with_logits(net(x), m)
        opt.zero_grad()
        loss.backward()
        opt.step()
        acc += loss.item()
    print(f"epoch {ep}: bce {acc / len(train):.4f}  val IoU {iou(net, val):.4f}")
