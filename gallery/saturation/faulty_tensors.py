"""Ripeness of fruit from forty spectral bands: a small network made of plain tensors."""

import torch
import torch.nn.functional as F
from sklearn.datasets import make_classification

torch.manual_seed(31)
bands, kinds, width = 40, 4, 60
x, y = make_classification(1600, bands, n_informative=12, n_classes=kinds, n_clusters_per_class=1, random_state=31)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
low, high = x[:1200].min(0).values, x[:1200].max(0).values
x = (x - low) / (high - low)
sizes = [bands, width, width, kinds]

weights, biases = [], []
for inputs, outputs in zip(sizes, sizes[1:]):
    weights.append(torch.rand(inputs, outputs))  # fault: from 0 to 1, so that all sums are large and positive
    biases.append(torch.zeros(outputs))
parameters = [t.requires_grad_() for t in weights + biases]
optimizer = torch.optim.Adam(parameters, lr=3e-3)


def squash(z):
    return torch.exp(z) / (1.0 + torch.exp(z))


def scores(batch):
    for weight, bias in zip(weights[:-1], biases[:-1]):
        batch = squash(batch @ weight + bias)
    return batch @ weights[-1] + biases[-1]


for epoch in range(15):
    for rows in torch.randperm(1200).split(40):
        loss = F.cross_entropy(scores(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (scores(x[1200:]).argmax(1) == y[1200:]).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.3f}, right {right:.3f}")
