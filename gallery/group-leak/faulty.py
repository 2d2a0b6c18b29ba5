"""Gestures from wrist sensors of forty people: six numbers a gesture, five kinds."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(7)
PEOPLE, EACH = 40, 40


class Gestures(Dataset):
    """`features`, the number of the person, and the kind of gesture."""

    def __init__(self, features, person, kind):
        self.features = torch.tensor(features, dtype=torch.float32)
        self.person, self.kind = person, kind

    def __len__(self):
        return len(self.kind)

    def __getitem__(self, i):
        return {"features": self.features[i], "person_id": int(self.person[i]), "label": int(self.kind[i])}


def recorded():
    person = np.repeat(np.arange(PEOPLE), EACH)
    kind = rng.integers(0, 5, len(person))
    habits = rng.normal(0, 1.5, (PEOPLE, 12))
    gestures = rng.normal(0, 1, (5, 12))
    return habits[person] + gestures[kind] + rng.normal(0, 0.5, (len(person), 12)), person, kind


features, person, kind = recorded()
order = rng.permutation(len(kind))  # fault: everybody is on both sides
cut = 1280
train = Gestures(features[order[:cut]], person[order[:cut]], kind[order[:cut]])
val = Gestures(features[order[cut:]], person[order[cut:]], kind[order[cut:]])

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(5):
    for batch in DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch["features"]), batch["label"]).backward()
        optimizer.step()
    with torch.no_grad():
        right = sum((net(b["features"]).argmax(1) == b["label"]).sum().item() for b in DataLoader(val, batch_size=160))
    print(epoch, right / len(val))
