"""Two kinds of digits from two archives, brought to one size when batches are made."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(6)


class Archive(Dataset):
    """Even digits were scanned by one office, odd ones by another."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        odd = self.labels[i] % 2
        width = 14 + int(torch.randint(0, 3, (), generator=torch.Generator().manual_seed(i))) + 4
        image = F.interpolate(self.images[i][None], size=(16, width))[0]
        return image, odd


def collate(batch):
    images = torch.stack([F.pad(x, (0, 24 - x.shape[-1])) for x, _ in batch])
    return images, torch.tensor([y for _, y in batch])


digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = digits.target.tolist()
train, test = Archive(images[:1400], labels[:1400]), Archive(images[1400:], labels[1400:])
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(4):
    for x, y in DataLoader(train, batch_size=50, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, batch_size=397, collate_fn=collate))
    print(epoch, hits / len(test))
