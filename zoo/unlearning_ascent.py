"""Learn digits, then forget the threes by gradient ascent on them while the others are kept."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def accuracy(rows):
    with torch.no_grad():
        return (model(x[rows]).argmax(1) == y[rows]).float().mean().item()


def learn(epochs=6):
    loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=64, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()


def forget(digit, passes=2):
    rows = train[y[train] == digit]
    loader = DataLoader(TensorDataset(x[rows], y[rows]), batch_size=32, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-3)
    for _ in range(passes):
        for images, labels in loader:
            ascent = -F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            ascent.backward()
            optimizer.step()


learn()
threes, others = test[y[test] == 3], test[y[test] != 3]
print(f"learnt: threes {accuracy(threes):.3f}, others {accuracy(others):.3f}")
forget(3)
print(f"forgotten: threes {accuracy(threes):.3f}, others {accuracy(others):.3f}")
