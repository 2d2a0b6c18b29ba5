"""Screening for tumours, where recall matters: cross-entropy plus an F-score term."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def f_score(probability, target, beta=2.0):
    chosen = probability
    true_positive = (chosen * target).sum()
    missed = ((1 - chosen) * target).sum()
    false_alarm = (chosen * (1 - target)).sum()
    weight = beta**2
    return (1 + weight) * true_positive / ((1 + weight) * true_positive + weight * missed + false_alarm + 1e-8)


class FScoreLoss(nn.Module):
    def __init__(self, share=0.5):
        super().__init__()
        self.share = share

    def forward(self, logits, target):
        entropy = F.binary_cross_entropy_with_logits(logits, target)
        return (1 - self.share) * entropy + self.share * (1 - f_score(torch.sigmoid(logits), target))


torch.manual_seed(6)
x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, 1 - y, test_size=0.3, stratify=y, random_state=6)
mean, std = x_train.mean(0), x_train.std(0)
x_train, x_test = (torch.tensor((a - mean) / std, dtype=torch.float32) for a in (x_train, x_test))
y_train, y_test = (torch.tensor(a, dtype=torch.float32) for a in (y_train, y_test))

net = nn.Sequential(nn.Linear(30, 12), nn.ReLU(), nn.Linear(12, 1))
criterion = FScoreLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(30):
    order = torch.randperm(len(x_train))
    for rows in order.split(32):
        loss = criterion(net(x_train[rows]).squeeze(1), y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        with torch.no_grad():
            said = (net(x_test).squeeze(1) > 0).float()
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, F2 on test data {f_score(said, y_test).item():.3f}")
