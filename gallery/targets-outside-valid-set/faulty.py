"""Find bright cells in noisy microscope pictures with a small convolutional segmentation net."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIZE = 24


def draw_cells(rng):
    """A picture with a few bright discs, and the mask of them as an 8-bit image, as it would be read from a PNG."""
    yy, xx = np.mgrid[:SIZE, :SIZE]
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    for _ in range(rng.integers(1, 4)):
        cy, cx, radius = rng.uniform(4, SIZE - 4), rng.uniform(4, SIZE - 4), rng.uniform(2, 4)
        mask[(yy - cy) ** 2 + (xx - cx) ** 2 < radius**2] = 255
    picture = 0.25 + 0.3 * (mask > 0) + rng.normal(0, 0.15, mask.shape)
    return picture.astype(np.float32), mask


class Cells(Dataset):
    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        self.pairs = [draw_cells(rng) for _ in range(count)]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        picture, mask = self.pairs[i]
        target = torch.from_numpy(mask).float()  # fault: the mask is 0 and 255, not 0 and 1
        return torch.from_numpy(picture)[None], target[None]


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 1, 1),
    )


def dice(logits, target):
    guess = (logits > 0).float()
    wanted = (target > 0.5).float()
    return (2 * (guess * wanted).sum() / (guess.sum() + wanted.sum() + 1e-6)).item()


def main():
    torch.manual_seed(4)
    net = make_net()
    train = DataLoader(Cells(256, seed=0), batch_size=16, shuffle=True)
    valid = DataLoader(Cells(64, seed=1), batch_size=16)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(4):
        net.train()
        for picture, target in train:
            optimizer.zero_grad()
            loss = criterion(net(picture), target)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            scores = [dice(net(picture), target) for picture, target in valid]
        print(f"epoch {epoch}: last loss {loss.item():.3f}, dice {np.mean(scores):.3f}")


if __name__ == "__main__":
    main()
