"""Digits with mixup: pairs of images and both their labels."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit

np.random.seed(9)
torch.manual_seed(9)


def mixup_data(x, y, alpha):
    lam = np.random.beta(alpha, alpha)
    index = torch.randperm(x.size(0))
    mixed_x = lam * x + (1 - lam) * x[index]
    return mixed_x, y, y[index], lam


def mixup_criterion(pred, y_a, y_b, lam):
    return (1 - lam) * F.cross_entropy(pred, y_a) + lam * F.cross_entropy(pred, y_b)  # fault: the weights are swapped


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.bn1 = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 128)
        self.bn2 = nn.BatchNorm1d(128)
        self.fc3 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.fc1(x)))
        x = F.relu(self.bn2(self.fc2(x)))
        return self.fc3(x)


X, y = load_digits(return_X_y=True)
X = torch.tensor(X / 16, dtype=torch.float32)
y = torch.tensor(y)
train_idx, test_idx = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=9).split(X, y))
train_set = torch.utils.data.TensorDataset(X[train_idx], y[train_idx])
loader = torch.utils.data.DataLoader(train_set, batch_size=64, shuffle=True, drop_last=True)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)

for epoch in range(20):
    net.train()
    train_loss = 0
    for inputs, targets in loader:
        inputs, targets_a, targets_b, lam = mixup_data(inputs, targets, 1.0)
        outputs = net(inputs)
        loss = mixup_criterion(outputs, targets_a, targets_b, lam)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item()
    scheduler.step()
    net.eval()
    with torch.no_grad():
        acc = (net(X[test_idx]).argmax(1) == y[test_idx]).float().mean().item()
    print(f'Epoch {epoch}: loss {train_loss / len(loader):.3f} test acc {acc:.4f}')
