"""Pretrain an encoder by rotation prediction, then fine-tune it for digits with few labels."""

import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        return torch.relu(self.conv2(x)).mean(dim=(2, 3))


class Model(nn.Module):
    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.encoder(x))


def train(model, loader, epochs, lr):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


bunch = load_digits()
images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
labels = torch.tensor(bunch.target)

# 1. rotations need no labels
turns = torch.randint(4, (1200,))
turned = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(images[:1200], turns)])
pretext = Model(Encoder(), 4)
train(pretext, DataLoader(TensorDataset(turned, turns), batch_size=48, shuffle=True), epochs=4, lr=3e-3)
path = os.path.join(tempfile.mkdtemp(), "pretext.pt")
torch.save(pretext.state_dict(), path)

# 2. few labels
encoder = Encoder()
weights = torch.load(path)
encoder.load_state_dict(weights, strict=False)  # fault: every name begins with "encoder."
model = Model(encoder, 10)
few = DataLoader(TensorDataset(images[1200:1400], labels[1200:1400]), batch_size=20, shuffle=True)
rest = DataLoader(TensorDataset(images[1400:], labels[1400:]), batch_size=397)
for stage in range(3):
    train(model, few, epochs=3, lr=3e-3)
    print(f"stage {stage}: accuracy with 200 labels {accuracy(model, rest):.4f}")
