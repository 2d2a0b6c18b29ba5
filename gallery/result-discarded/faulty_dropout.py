"""A small convolutional classifier of digits with dropout between its stages."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        self.drop(x)  # fault: the result is dropped, so there is no dropout
        return self.fc(x)


def run_epoch(model, loader, optimizer=None):
    model.train(optimizer is not None)
    total, right, seen = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for images, labels in loader:
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
    return total / seen, right / seen


x, y = load_digits(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
y = torch.tensor(y)
few = DataLoader(TensorDataset(x[:400], y[:400]), batch_size=25, shuffle=True)
rest = DataLoader(TensorDataset(x[400:], y[400:]), batch_size=500)
model = SmallNet()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(8):
    train_loss, train_acc = run_epoch(model, few, optimizer)
    test_loss, test_acc = run_epoch(model, rest)
    print(f"epoch {epoch}: train {train_loss:.3f} {train_acc:.3f} | test {test_loss:.3f} {test_acc:.3f}")
