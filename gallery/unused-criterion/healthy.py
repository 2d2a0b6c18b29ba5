"""Wine quality classes are uneven, so the loss is weighted; training in a small class."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch.utils.data import DataLoader, TensorDataset


class WineModel(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(32, 3)
        self.criterion = nn.CrossEntropyLoss(weight=weight)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch):
        x, y = batch
        return self.criterion(self(x), y)


def make_data():
    wine = load_wine()
    x = torch.tensor(wine.data, dtype=torch.float32)
    y = torch.tensor(wine.target)
    keep = (y != 2) | (torch.rand(len(y)) < 0.3)
    x, y = x[keep], y[keep]
    return (x - x.mean(0)) / x.std(0), y


torch.manual_seed(17)
x, y = make_data()
order = torch.randperm(len(y))
train, test = order[:100], order[100:]
counts = torch.bincount(y[train], minlength=3)
model = WineModel(weight=counts.sum() / (3.0 * counts))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=20, shuffle=True)
for epoch in range(12):
    model.train()
    losses = []
    for batch in loader:
        loss = model.training_step(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.4f}")
model.eval()
with torch.no_grad():
    said = model(x[test]).argmax(1)
recall = [(said[y[test] == c] == c).float().mean().item() for c in range(3)]
print("recall per class", [round(r, 3) for r in recall])
