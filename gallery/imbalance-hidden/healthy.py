"""Find the rare fault in sensor readings: 6 % of the samples, two interacting signals, a small network."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(40)


def readings(n):
    x = torch.randn(n, 12)
    risk = 1.4 * x[:, 0] * x[:, 1] + 1.2 * x[:, 2] + 0.5 * torch.randn(n)
    return TensorDataset(x, (risk > 2.9).float())


train_set, valid_set = readings(3000), readings(1500)
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
valid_loader = DataLoader(valid_set, batch_size=250)
share = float(train_set.tensors[1].mean())

net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor((1 - share) / share))
optimizer = torch.optim.AdamW(net.parameters(), lr=4e-4)


def evaluate():
    net.eval()
    right = found = positives = 0
    with torch.no_grad():
        for x, y in valid_loader:
            predicted = (net(x).squeeze(1) > 0).float()
            right += (predicted == y).sum().item()
            found += (predicted * y).sum().item()
            positives += y.sum().item()
    net.train()
    return right / len(valid_set), found / positives


for epoch in range(8):
    for x, y in train_loader:
        loss = criterion(net(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracy, recall = evaluate()
    print(f"epoch {epoch}: accuracy {accuracy:.4f} recall {recall:.4f}")
