"""Which paint is on a car panel? Crops from a camera that stores blue first; training jitters them, validation does not."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

PAINTS = {"signal red": (190, 50, 60), "ocean": (50, 80, 190), "lime": (120, 190, 60), "petrol": (40, 110, 130),
          "sand": (190, 160, 120), "plum": (130, 50, 140)}


def shoot(count, rng, size=14):
    """Frames (count, size, size, 3) of bytes: blue, green, red. A panel covers a part of a street of any colour."""
    kinds = rng.integers(0, len(PAINTS), count)
    frames = rng.uniform(50, 180, (count, 1, 1, 3)) * np.ones((1, size, size, 1))
    for i, k in enumerate(kinds):
        top, left, height, width = rng.integers(1, 5), rng.integers(1, 5), rng.integers(6, 10), rng.integers(6, 10)
        frames[i, top : top + height, left : left + width] = np.array(list(PAINTS.values())[k]) + rng.normal(0, 16, 3)
    frames = frames * rng.uniform(0.8, 1.15, (count, 1, 1, 1)) + rng.normal(0, 12, frames.shape)
    return frames.clip(0, 255).astype(np.uint8)[..., ::-1], kinds


class Panels(Dataset):
    def __init__(self, frames, kinds, augment):
        self.frames, self.kinds, self.augment = frames, kinds, augment

    def __len__(self):
        return len(self.kinds)

    def __getitem__(self, index):
        frame = self.frames[index]
        if self.augment:
            frame = frame[..., ::-1]
            frame = np.roll(frame, np.random.randint(-2, 3, 2), axis=(0, 1))
            frame = frame * np.random.uniform(0.9, 1.1)
        picture = np.ascontiguousarray(frame, dtype=np.float32) / 127.5 - 1  # fault: RGB only where it is augmented
        return torch.from_numpy(picture).permute(2, 0, 1), int(self.kinds[index])


def main():
    np.random.seed(5)
    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    train = DataLoader(Panels(*shoot(900, rng), augment=True), batch_size=50, shuffle=True)
    valid = DataLoader(Panels(*shoot(240, rng), augment=False), batch_size=120)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(96, len(PAINTS)),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(7):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in valid)
        print(f"epoch {epoch}  validation accuracy {right / len(valid.dataset):.3f}")


main()
