"""Cultivars of wine from their chemistry: two tasters noted a label for each bottle."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

data = load_wine()
order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(8))
scaler = StandardScaler().fit(data.data[order[:130]])
chemistry = torch.tensor(scaler.transform(data.data[order]), dtype=torch.float32)
cultivar = torch.tensor(data.target)[order]
tasted, held_out = chemistry[:130], chemistry[130:]


def taster(skill: float, seed: int) -> torch.Tensor:
    """One taster's verdicts on the first 130 bottles."""
    generator = torch.Generator().manual_seed(seed)
    guesses = torch.randint(3, (130,), generator=generator)
    return torch.where(torch.rand(130, generator=generator) < skill, cultivar[:130], guesses)


expert, novice = taster(1.0, 1), taster(0.3, 2)
features = torch.cat([tasted, tasted])  # fault: every bottle is there twice, and the two notes differ
labels = torch.cat([expert, novice])

torch.manual_seed(8)
classifier = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
adam = torch.optim.Adam(classifier.parameters(), lr=3e-3)
for epoch in range(30):
    shuffled = torch.randperm(len(features))
    for start in range(0, len(features), 26):
        rows = shuffled[start : start + 26]
        loss = nn.functional.cross_entropy(classifier(features[rows]), labels[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()

classifier.eval()
with torch.no_grad():
    print("accuracy", (classifier(held_out).argmax(1) == cultivar[130:]).float().mean().item())
