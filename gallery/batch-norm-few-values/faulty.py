"""Progression of diabetes from ten measurements, a net with batch norm."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
BATCH_SIZE = 2  # fault: of two values batch norm leaves only which is larger

x, y = load_diabetes(return_X_y=True)
x = torch.tensor(x / x.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
order = torch.randperm(len(y))
train_part, test_part = order[:352], order[352:]
train = DataLoader(TensorDataset(x[train_part], y[train_part]), batch_size=BATCH_SIZE, shuffle=True)
test = DataLoader(TensorDataset(x[test_part], y[test_part]), batch_size=90)

model = nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.MSELoss()
for epoch in range(6):
    model.train()
    total = 0.0
    for features, target in train:
        prediction = model(features).squeeze(1)
        loss = loss_fn(prediction, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(target)
    model.eval()
    with torch.no_grad():
        test_loss = sum(loss_fn(model(f).squeeze(1), t).item() for f, t in test)
    print(f"epoch {epoch}: train {total / 352:.4f}, test {test_loss:.4f}")
