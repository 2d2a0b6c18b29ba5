"""Classify irises by species; the table counts species from 1."""

import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import nn

torch.manual_seed(8)
rng = np.random.default_rng(8)

iris = load_iris()
species = iris.target + 1  # as in the table this stands for: 1 setosa, 2 versicolor, 3 virginica
order = rng.permutation(len(species))
features = iris.data[order]
features = torch.tensor((features - features[:110].mean(0)) / features[:110].std(0), dtype=torch.float32)
labels, outputs = torch.tensor(species[order]), 4  # fault: four outputs, since label 3 needs them

loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(features[:110], labels[:110]), batch_size=11, shuffle=True
)
net = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, outputs))
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(20):
    total = 0.0
    for x, y in loader:
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    if epoch % 5 == 4:
        with torch.no_grad():
            accuracy = (net(features[110:]).argmax(1) == labels[110:]).float().mean()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.3f}, test accuracy {accuracy:.3f}")
