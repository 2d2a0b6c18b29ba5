"""Segment the ink of digits from noisy pictures with a tiny U-shaped network."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class InkMasks(Dataset):
    """Noisy pictures with masks, as a labelling tool writes them: 8-bit, white where there is ink."""

    def __init__(self, images, seed):
        rng = np.random.default_rng(seed)
        self.masks = np.where(images > 6, 255, 0).astype(np.uint8)
        noisy = images / 16 + rng.normal(0, 0.25, images.shape)
        self.images = noisy.astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = torch.from_numpy(self.images[i]).unsqueeze(0)
        mask = torch.from_numpy(self.masks[i]).float() / 255
        return image, mask.unsqueeze(0)


class Segmenter(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.down = nn.Conv2d(1, width, 3, padding=1)
        self.middle = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Conv2d(2 * width, 1, 1)

    def forward(self, x):
        top = F.relu(self.down(x))
        below = F.relu(self.up(F.relu(self.middle(top))))
        return self.out(torch.cat([top, below], dim=1))


def iou(logits, mask):
    predicted, truth = logits > 0, mask > 0
    return ((predicted & truth).sum() / (predicted | truth).sum()).item()


torch.manual_seed(21)
images = load_digits().images
train = DataLoader(InkMasks(images[:1200], 1), batch_size=48, shuffle=True)
test = DataLoader(InkMasks(images[1200:1500], 2), batch_size=150)
model = Segmenter()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(4):
    model.train()
    for image, mask in train:
        loss = F.binary_cross_entropy_with_logits(model(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        scores = [iou(model(image), mask) for image, mask in test]
    print(f"epoch {epoch + 1}  loss {loss.item():.4f}  IoU {np.mean(scores):.3f}")
