# card payments: flag the fraudulent ones
import numpy as np
import torch
import torch.nn as nn
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(77)
rng = np.random.default_rng(77)


def payments(n):
    fraud = rng.random(n) < 0.03
    amount = rng.normal(3.2, 1.0, n) + 0.9 * fraud
    hour = rng.normal(0, 1, n) - 0.8 * fraud
    distance = np.abs(rng.normal(0, 1, n)) + 0.9 * fraud * rng.random(n)
    velocity = rng.normal(0, 1, n) + 1.0 * fraud
    others = rng.normal(0, 1, (n, 6))
    return np.column_stack([amount, hour, distance, velocity, others]), fraud.astype(np.float32)


X_train, y_train = payments(4000)
X_val, y_val = payments(3000)
mu, sigma = X_train.mean(0), X_train.std(0)
X_train = torch.tensor((X_train - mu) / sigma, dtype=torch.float32)
X_val = torch.tensor((X_val - mu) / sigma, dtype=torch.float32)
y_train, y_val = torch.tensor(y_train), torch.tensor(y_val)

weights = torch.where(y_train == 1, 0.5 / y_train.mean(), 0.5 / (1 - y_train.mean()))
sampler = WeightedRandomSampler(weights, len(weights), generator=torch.Generator().manual_seed(77))
train_loader = DataLoader(TensorDataset(X_train, y_train), batch_size=64, sampler=sampler)
val_loader = DataLoader(TensorDataset(X_val, y_val), batch_size=500)

model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)

for epoch in range(10):
    model.train()
    train_loss, seen = 0.0, 0
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb).squeeze(1), yb)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(yb)
        seen += len(yb)

    model.eval()
    val_loss, pred = 0.0, []
    with torch.no_grad():
        for xb, yb in val_loader:
            logit = model(xb).squeeze(1)
            val_loss += criterion(logit, yb).item() * len(yb)
            pred.append((logit > 0).float())
    pred = torch.cat(pred)
    print(f"epoch {epoch + 1:2d} train {train_loss / seen:.4f} val {val_loss / len(y_val):.4f} "
          f"acc {accuracy_score(y_val, pred):.3f} balanced {balanced_accuracy_score(y_val, pred):.3f}")
