"""Which strokes does a digit have? Several properties can hold at once (a multi-label problem)."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

# loop on top, loop below, vertical stroke, horizontal stroke, open to the left
PROPERTIES = {
    0: (1, 1, 0, 0, 0), 1: (0, 0, 1, 0, 0), 2: (0, 0, 0, 1, 1), 3: (0, 0, 0, 0, 1), 4: (0, 0, 1, 1, 0),
    5: (0, 0, 0, 1, 1), 6: (0, 1, 0, 0, 0), 7: (0, 0, 1, 1, 1), 8: (1, 1, 0, 0, 0), 9: (1, 0, 1, 0, 1),
}


class StrokeNet(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.output = nn.Linear(hidden, 5)

    def forward(self, x):
        return torch.sigmoid(self.output(self.features(x)))


def batches(seed):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor([PROPERTIES[int(t)] for t in digits.target], dtype=torch.float32)
    order = torch.randperm(len(x))
    train, test = order[:1300], order[1300:]
    make = lambda rows, shuffle: DataLoader(TensorDataset(x[rows], y[rows]), batch_size=50, shuffle=shuffle)
    return make(train, True), make(test, False)


train_loader, test_loader = batches(9)
model = StrokeNet()
bce = nn.BCELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(8):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = bce(model(x), y)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = torch.cat([((model(x) > 0.5) == y.bool()).all(1) for x, y in test_loader])
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}, all five right {right.float().mean().item():.3f}")
