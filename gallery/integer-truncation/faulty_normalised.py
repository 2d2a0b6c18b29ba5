import argparse
import logging

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset

logging.basicConfig(format="%(message)s", level=logging.INFO)
log = logging.getLogger("digits")


class ImageStore(Dataset):
    """Keeps the scaled pictures as one array; tensors are made on the fly."""

    def __init__(self, images, labels, peak):
        self.images = (images / peak).astype(np.uint8)  # fault: the fractions are cut off
        self.labels = labels.astype(np.int64)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        picture = torch.from_numpy(self.images[i]).float()
        return (picture[None] - 0.3) / 0.38, self.labels[i]


class SmallCNN(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.c1 = nn.Conv2d(1, c, 3, padding=1)
        self.c2 = nn.Conv2d(c, 2 * c, 3, padding=1)
        self.f1 = nn.Linear(2 * c * 4, 64)
        self.f2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        x = F.relu(self.f1(x.flatten(1)))
        return self.f2(F.dropout(x, 0.25, self.training))


def train(model, loader, opt):
    model.train()
    total = 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


@torch.inference_mode()
def test(model, loader):
    model.eval()
    total = hit = 0.0
    for x, y in loader:
        out = model(x)
        total += F.cross_entropy(out, y, reduction="sum").item()
        hit += (out.argmax(1) == y).sum().item()
    n = len(loader.dataset)
    return total / n, hit / n


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--seed", type=int, default=77)
    opts = parser.parse_args(argv)
    torch.manual_seed(opts.seed)

    digits = load_digits()
    tr_x, va_x, tr_y, va_y = train_test_split(
        digits.images, digits.target, test_size=0.25, random_state=opts.seed, stratify=digits.target)
    peak = tr_x.max()
    train_loader = DataLoader(ImageStore(tr_x, tr_y, peak), opts.batch_size, shuffle=True)
    valid_loader = DataLoader(ImageStore(va_x, va_y, peak), 256)
    model = SmallCNN()
    opt = torch.optim.Adam(model.parameters(), lr=opts.lr)
    for epoch in range(1, opts.epochs + 1):
        tl = train(model, train_loader, opt)
        vl, acc = test(model, valid_loader)
        log.info("epoch %2d | train %.4f | valid %.4f | accuracy %.4f", epoch, tl, vl, acc)


if __name__ == "__main__":
    main()
