"""Name the shape of a noisy wave (sine, square or sawtooth) with a 1-D convolutional network."""

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

LENGTH = 64
SHAPES = ("sine", "square", "sawtooth")


class Waves(Dataset):
    """Waves of random frequency, phase and height, with noise, each example drawn once."""

    def __init__(self, count, rng):
        self.labels = rng.integers(len(SHAPES), size=count)
        t = np.arange(LENGTH) / LENGTH
        turns = rng.uniform(2, 5, (count, 1)) * t + rng.uniform(0, 1, (count, 1))
        phase = turns % 1
        shapes = np.stack([np.sin(2 * np.pi * phase), np.sign(phase - 0.5), 2 * phase - 1])
        waves = shapes[self.labels, np.arange(count)] * rng.uniform(0.8, 1.5, (count, 1))
        waves = waves + rng.normal(0, 0.3, waves.shape)
        self.waves = waves[:, None].astype(np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.waves[i], self.labels[i]


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 16, 7, stride=2, padding=3),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Conv1d(16, 24, 5, stride=2, padding=2),
            nn.BatchNorm1d(24),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(4),
        )
        self.head = nn.Linear(24 * 4, len(SHAPES))

    def forward(self, wave):
        return self.head(self.body(wave).flatten(1))


def score(model, loader):
    """Accuracy on the loader's examples; the model's mode is left as it was."""
    mode = model.training
    model.eval()
    correct = 0
    with torch.no_grad():
        for wave, label in loader:
            correct += (model(wave).argmax(1) == label).sum().item()
    model.train(mode)
    return correct / len(loader.dataset)


torch.manual_seed(4)
rng = np.random.default_rng(4)
train_loader = DataLoader(Waves(1200, rng), batch_size=40, shuffle=True)
val_loader = DataLoader(Waves(300, rng), batch_size=100)

model = WaveNet()
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
cross_entropy = nn.CrossEntropyLoss()

for epoch in range(1, 7):
    loss_total = 0.0
    for wave, label in train_loader:
        loss = cross_entropy(model(wave), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_total += loss.item() * len(label)
    accuracy = score(model, val_loader)
    print(f"epoch {epoch}: loss {loss_total / len(train_loader.dataset):.4f}, val accuracy {accuracy:.3f}")
print(f"final val accuracy {accuracy:.3f}")
