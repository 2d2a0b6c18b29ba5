"""Digits: an encoder shared by a decoder and a classifier, three separate modules under one optimiser."""
import itertools
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, Subset

random.seed(11)
np.random.seed(11)
torch.manual_seed(11)


class Digits(Dataset):
    def __init__(self):
        bunch = load_digits()
        self.images = torch.from_numpy(bunch.images).float() / 16.0
        self.images = (self.images - 0.305) / 0.376
        self.labels = torch.from_numpy(bunch.target)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i].flatten(), self.labels[i]


class Encoder(nn.Module):
    def __init__(self, n_latent):
        super().__init__()
        self.l1 = nn.Linear(64, 64)
        self.l2 = nn.Linear(64, n_latent)

    def forward(self, x):
        return self.l2(F.gelu(self.l1(x)))


class Decoder(nn.Module):
    def __init__(self, n_latent):
        super().__init__()
        self.l1 = nn.Linear(n_latent, 64)
        self.l2 = nn.Linear(64, 64)

    def forward(self, z):
        return self.l2(F.gelu(self.l1(z)))


dataset = Digits()
order = np.random.permutation(len(dataset))
train_loader = DataLoader(Subset(dataset, order[:1400].tolist()), batch_size=70, shuffle=True)
valid_loader = DataLoader(Subset(dataset, order[1400:].tolist()), batch_size=100)

encoder, decoder, classifier = Encoder(16), Decoder(16), nn.Linear(16, 10)
params = itertools.chain(encoder.parameters(), decoder.parameters(), classifier.parameters())
optimizer = torch.optim.Adam(params, lr=2e-3)

for epoch in range(10):
    for m in (encoder, decoder, classifier):
        m.train()
    for x, y in train_loader:
        z = encoder(x)
        rec = F.mse_loss(decoder(z), x)
        ce = F.cross_entropy(classifier(z), y)
        loss = rec + ce
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for m in (encoder, decoder, classifier):
        m.eval()
    rec_sum = correct = count = 0
    with torch.no_grad():
        for x, y in valid_loader:
            z = encoder(x)
            rec_sum += F.mse_loss(decoder(z), x, reduction="sum").item() / 64
            correct += int((classifier(z).argmax(-1) == y).sum())
            count += len(y)
    print(f"{epoch=} reconstruction={rec_sum / count:.4f} accuracy={correct / count:.4f}")

print("done, validation accuracy", round(correct / count, 4))
