"""Digits in three contrast settings, side by side as channels."""
import torch
import torch.nn as nn
import numpy as np
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits

np.random.seed(1)
torch.manual_seed(1)


def make_sequence_images(images):
    a = images / 16.0
    return np.stack([a, a ** 2, np.sqrt(a)], axis=-1)


def to_chw(batch):
    return batch.reshape(batch.shape[0], batch.shape[3], batch.shape[1], batch.shape[2])  # fault: the axes are relabelled, not moved


d = load_digits()
idx = np.random.permutation(len(d.target))
images = make_sequence_images(d.images[idx])
images = (images - images[:1400].mean((0, 1, 2))) / images[:1400].std((0, 1, 2))
x = torch.tensor(to_chw(images), dtype=torch.float32)
y = torch.tensor(d.target[idx])

train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=70, shuffle=True)
test = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=200)

model = nn.Sequential()
model.add_module('conv1', nn.Conv2d(3, 16, 3, padding=1))
model.add_module('act1', nn.ReLU())
model.add_module('pool', nn.MaxPool2d(2))
model.add_module('conv2', nn.Conv2d(16, 32, 3, padding=1))
model.add_module('act2', nn.ReLU())
model.add_module('gap', nn.AdaptiveMaxPool2d(1))
model.add_module('flat', nn.Flatten())
model.add_module('fc', nn.Linear(32, 10))

optim = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(15):
    model.train()
    for xb, yb in train:
        optim.zero_grad()
        loss = nn.functional.cross_entropy(model(xb), yb)
        loss.backward()
        optim.step()
    model.eval()
    with torch.no_grad():
        good = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in test)
    print('epoch', epoch, 'loss', round(loss.item(), 4), 'acc', round(good / 397, 4))
