"""Wine cultivars from assays that come in plates of wells; one example per well."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, Dataset

WELLS = 12


class Assays(Dataset):
    """Rows of the table in random order, `WELLS` to a plate."""

    def __init__(self, table, labels):
        self.table = torch.tensor(table, dtype=torch.float32)
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        plate, well = divmod(index, WELLS)
        row = plate  # fault: the well is left out, so twelve indices give the same row
        return {"assay": self.table[row], "cultivar": self.labels[row]}


rng = np.random.default_rng(14)
torch.manual_seed(14)
wine = load_wine()
order = rng.permutation(len(wine.target))
train, test = order[:132], order[132:]
mean, std = wine.data[train].mean(0), wine.data[train].std(0)
scaled = (wine.data - mean) / std

train_loader = DataLoader(Assays(scaled[train], wine.target[train]), batch_size=12, shuffle=True)
test_x, test_y = torch.tensor(scaled[test], dtype=torch.float32), torch.tensor(wine.target[test])

model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

for epoch in range(12):
    model.train()
    for batch in train_loader:
        loss = F.cross_entropy(model(batch["assay"]), batch["cultivar"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 4 == 3:
        model.eval()
        with torch.no_grad():
            accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, test accuracy {accuracy:.3f}")
