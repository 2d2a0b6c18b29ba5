"""Predict diabetes progression; the optimiser is driven through step(closure)."""
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(3)


def load():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X = torch.tensor(X, dtype=torch.float32)
    y = torch.tensor(y, dtype=torch.float32).unsqueeze(1)
    train, val = random_split(range(len(X)), [0.8, 0.2], generator=torch.Generator().manual_seed(3))
    tr, va = list(train), list(val)
    xm, xs = X[tr].mean(0), X[tr].std(0)
    ym, ys = y[tr].mean(), y[tr].std()
    X, y = (X - xm) / xs, (y - ym) / ys
    return TensorDataset(X[tr], y[tr]), TensorDataset(X[va], y[va]), ys.item()


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 24)
        self.fc2 = nn.Linear(24, 1)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


train_set, val_set, y_scale = load()
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
val_loader = DataLoader(val_set, batch_size=32)
model = Regressor()
mse = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)

for epoch in range(20):
    model.train()
    sums = np.zeros(2)
    for xb, yb in train_loader:

        def closure():
            optimizer.zero_grad()
            loss = mse(model(xb), yb)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        sums += [loss.item() * len(xb), len(xb)]
    model.eval()
    sq, n = 0.0, 0
    with torch.no_grad():
        for xb, yb in val_loader:
            sq += (model(xb) - yb).pow(2).sum().item()
            n += yb.numel()
    rmse = (sq / n) ** 0.5
    if epoch % 4 == 3:
        print(f"epoch {epoch + 1}: train mse {sums[0] / sums[1]:.4f}, val rmse {rmse * y_scale:.2f} points")

print(f"final validation R^2 {1 - (sq / n) / val_set.tensors[1].var(correction=0).item():.3f}")
