"""Model and data set for detection_dict.py: one bright box or two on a 16x16 canvas."""
import torch
from torch import nn
from torch.utils.data import Dataset

GRID, CELL = 4, 4


class Boxes(Dataset):
    """Returns (image, target) with target = {"boxes": [n, 4] as cx, cy, w, h in pixels, "labels": [n]}."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(n):
            image = 0.25 * torch.randn(1, 16, 16, generator=g)
            count = int(torch.randint(1, 3, (1,), generator=g))
            cells = torch.randperm(GRID // 2 * GRID // 2, generator=g)[:count]
            boxes, labels = [], []
            for c in cells.tolist():
                w, h = torch.randint(3, 7, (2,), generator=g).tolist()
                # one quadrant each, so boxes do not overlap
                x0 = (c % 2) * 8 + int(torch.randint(0, 9 - w, (1,), generator=g))
                y0 = (c // 2) * 8 + int(torch.randint(0, 9 - h, (1,), generator=g))
                bright = int(torch.randint(0, 2, (1,), generator=g))
                image[0, y0:y0 + h, x0:x0 + w] += 2.0 if bright else -2.0
                boxes.append([x0 + w / 2, y0 + h / 2, float(w), float(h)])
                labels.append(bright)
            self.items.append((image, {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)}))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    return tuple(zip(*batch))


class TinyDetector(nn.Module):
    """In training mode returns a dict of losses, in eval mode a list of dicts with boxes, labels and scores."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        )
        self.objectness = nn.Conv2d(32, 1, 1)
        self.classes = nn.Conv2d(32, 2, 1)
        self.boxes = nn.Conv2d(32, 4, 1)

    def forward(self, images, targets=None):
        features = self.backbone(torch.stack(images))
        obj = self.objectness(features)[:, 0]
        cls = self.classes(features).permute(0, 2, 3, 1)
        box = self.boxes(features).permute(0, 2, 3, 1)
        if self.training:
            return self.losses(obj, cls, box, targets)
        return [self.decode(o, c, b) for o, c, b in zip(obj, cls, box)]

    def losses(self, obj, cls, box, targets):
        truth = torch.zeros_like(obj)
        rows, cols, images, labels, offsets = [], [], [], [], []
        for i, t in enumerate(targets):
            col = (t["boxes"][:, 0] / CELL).long().clamp(max=GRID - 1)
            row = (t["boxes"][:, 1] / CELL).long().clamp(max=GRID - 1)
            truth[i, row, col] = 1.0
            images.append(torch.full_like(row, i)), rows.append(row), cols.append(col)
            labels.append(t["labels"])
            centre = torch.stack([t["boxes"][:, 0] / CELL - col - 0.5, t["boxes"][:, 1] / CELL - row - 0.5], 1)
            offsets.append(torch.cat([centre, t["boxes"][:, 2:] / CELL - 1.0], 1))
        at = (torch.cat(images), torch.cat(rows), torch.cat(cols))
        return {
            "loss_objectness": nn.functional.binary_cross_entropy_with_logits(obj, truth),
            "loss_classifier": nn.functional.cross_entropy(cls[at], torch.cat(labels)),
            "loss_box": nn.functional.smooth_l1_loss(box[at], torch.cat(offsets)),
        }

    def decode(self, obj, cls, box):
        score = obj.sigmoid()
        row, col = torch.nonzero(score > 0.5, as_tuple=True)
        b = box[row, col]
        cx, cy = (b[:, 0] + col + 0.5) * CELL, (b[:, 1] + row + 0.5) * CELL
        wh = (b[:, 2:] + 1.0) * CELL
        return {"boxes": torch.stack([cx, cy, wh[:, 0], wh[:, 1]], 1), "labels": cls[row, col].argmax(-1), "scores": score[row, col]}
