"""Adversarial training (PGD inside the step, TRADES-like mix) of a small CNN on digits; clean and robust accuracy."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)
EPS, ALPHA, ITERS = 0.1, 0.05, 3


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(32 * 16, 10))

    def forward(self, x):
        return self.classifier(self.features((x - 0.305) / 0.376))


def pgd(model, x, y, iters=ITERS):
    was_training = model.training
    model.eval()
    delta = torch.empty_like(x).uniform_(-EPS, EPS)
    for _ in range(iters):
        delta.requires_grad_()
        loss = F.cross_entropy(model((x + delta).clamp(0, 1)), y)
        grad = torch.autograd.grad(loss, delta)[0]
        delta = (delta + ALPHA * grad.sign()).clamp(-EPS, EPS).detach()
    model.train(was_training)
    return (x + delta).clamp(0, 1)


def train(model, loader, optimizer, epoch):
    model.train()
    for data, target in loader:
        adversarial = pgd(model, data, target)
        optimizer.zero_grad()
        loss = 0.5 * F.cross_entropy(model(data), target) + 0.5 * F.cross_entropy(model(adversarial), target)
        loss.backward()
        optimizer.step()
    print(f"Train epoch {epoch} loss {loss.item():.4f}", end=" ")


def evaluate(model, loader):
    model.eval()
    clean = robust = total = 0
    for data, target in loader:
        attacked = pgd(model, data, target, iters=6)
        with torch.no_grad():
            clean += (model(data).argmax(1) == target).sum().item()
            robust += (model(attacked).argmax(1) == target).sum().item()
        total += len(target)
    return clean / total, robust / total


digits = load_digits()
split = train_test_split(digits.images / 16.0, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
xa, xb = (torch.tensor(a, dtype=torch.float32).unsqueeze(1) for a in split[:2])
ya, yb = (torch.tensor(a) for a in split[2:])
train_loader = DataLoader(TensorDataset(xa, ya), batch_size=64, shuffle=True)
test_loader = DataLoader(TensorDataset(xb, yb), batch_size=225)
model = SmallCNN()
optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=2e-4)
for epoch in range(4):
    train(model, train_loader, optimizer, epoch)
    clean, robust = evaluate(model, test_loader)
    print(f"clean {clean:.3f} robust {robust:.3f}")
