"""Train a convolutional digit classifier (exported from a notebook)."""
# %% imports
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(42)

# %% data
X, Y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
Y = torch.tensor(Y)

train_idx, val_idx = train_test_split(torch.arange(len(X)), test_size=0.2, stratify=Y, random_state=42)
mu, sigma = X[train_idx].mean(), X[train_idx].std()
X = (X - mu) / sigma
print("train", len(train_idx), "val", len(val_idx))

train_dl = DataLoader(TensorDataset(X[train_idx], Y[train_idx]), batch_size=50, shuffle=True)
val_dl = DataLoader(TensorDataset(X[val_idx], Y[val_idx]), batch_size=100)

# %% model
model = nn.Sequential(
    nn.Conv2d(1, 16, 3),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 4 * 4, 32),
    nn.ReLU(),
    nn.Linear(32, 10),
)
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)

# %% training
losses, accs = [], []
for epoch in range(8):
    model.train()
    epoch_loss = 0
    for xb, yb in train_dl:
        pred = model(xb)
        loss = loss_fn(pred, yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        epoch_loss += loss.item() * len(xb)
    losses.append(epoch_loss / len(train_idx))

    model.eval()
    good = 0
    with torch.no_grad():
        for xb, yb in val_dl:
            good += (model(xb).argmax(1) == yb).sum().item()
    accs.append(good / len(val_idx))
    print("epoch", epoch, "loss", round(losses[-1], 4), "val acc", round(accs[-1], 4))

# %% result
print("final val acc", round(accs[-1], 4))
