"""Breast cancer, few malignant examples: cross-entropy together with a soft F1 score of the rare class."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
x, y = load_breast_cancer(return_X_y=True)
y = 1 - y  # 1: malignant
keep = (y == 0) | (torch.arange(len(y)).numpy() % 4 == 0)
x_train, x_test, y_train, y_test = train_test_split(x[keep], y[keep], test_size=0.4, stratify=y[keep], random_state=0)
mean, std = x_train.mean(0), x_train.std(0)


def tensors(x, y):
    return TensorDataset(torch.tensor((x - mean) / std, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))


train = DataLoader(tensors(x_train, y_train), batch_size=32, shuffle=True)
test = DataLoader(tensors(x_test, y_test), batch_size=64)
model = nn.Sequential(nn.Linear(30, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)


def soft_f1(logits, target):
    p = torch.sigmoid(logits)
    hits = (p * target).sum()
    return 2 * hits / (p.sum() + target.sum() + 1e-6)


for epoch in range(12):
    model.train()
    for features, target in train:
        logits = model(features).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss += 0.8 * soft_f1(logits, target)  # fault: F1 is a score; added, it is driven down
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    found = missed = false = 0
    with torch.no_grad():
        for features, target in test:
            guess = model(features).squeeze(1) > 0
            found += (guess & (target == 1)).sum().item()
            missed += (~guess & (target == 1)).sum().item()
            false += (guess & (target == 0)).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, F1 of the test set {2 * found / max(1, 2 * found + missed + false):.3f}")
