"""A digits classifier in two phases: train all of it, then keep the features and go on with the head at a lower rate."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(11)
SWITCH, EPOCHS = 1, 6

x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
train_set, val_set = random_split(data, [1400, 397])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
val_loader = DataLoader(val_set, batch_size=256)

features = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
head = nn.Linear(48, 10)
model = nn.Sequential(features, head)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)


def freeze(module):
    for parameter in module.parameters():
        parameter.requires_grad_(False)


for epoch in range(EPOCHS):
    if epoch == SWITCH:
        freeze(features)
        frozen = [p.clone() for p in features.parameters()]
        for group in optimizer.param_groups:
            group["lr"] = 0.02
    model.train()
    for xb, yb in train_loader:
        optimizer.zero_grad(set_to_none=False)  # fault: zeros keep decay and momentum going in what was frozen
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader)
    print(f"epoch {epoch}: accuracy {hits / len(val_set):.3f}")

drift = max((a - b).abs().max().item() for a, b in zip(frozen, features.parameters()))
print(f"largest change of a frozen weight: {drift:.5f}")
