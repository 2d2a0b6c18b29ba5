"""A convolutional digit classifier; the best validation epoch is written to disk, then the test set is evaluated."""

import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(6)
checkpoint = os.path.join(tempfile.mkdtemp(), "best.pt")

bunch = load_digits()
data = TensorDataset(torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(bunch.target))
train_set, val_set, test_set, _ = random_split(data, [300, 400, 400, 697])
train_loader = DataLoader(train_set, batch_size=20, shuffle=True)
val_loader = DataLoader(val_set, batch_size=100)
test_loader = DataLoader(test_set, batch_size=100)


class LeNetish(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, x):
        return self.layers(x)


def run_evaluation(net, loader):
    net.eval()
    hits = 0
    with torch.inference_mode():
        for x, y in loader:
            hits += int((net(x).argmax(1) == y).sum())
    return hits / len(loader.dataset)


net = LeNetish()
opt = torch.optim.Adam(net.parameters(), lr=1e-2)
best = 0.0
for epoch in range(14):
    net.train()
    for x, y in train_loader:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    acc = run_evaluation(net, val_loader)
    if acc > best:
        best = acc
        torch.save(net.state_dict(), checkpoint)
    print(f"epoch {epoch} val acc {acc:.4f} (best {best:.4f})")

# fault: the best weights stay on the disk
print(f"test acc {run_evaluation(net, test_loader):.4f}")
