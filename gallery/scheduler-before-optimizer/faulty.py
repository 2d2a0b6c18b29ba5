"""Learn Friedman's first function from noisy samples with a small network and a cosine schedule."""

import warnings

import torch
import torch.nn as nn
from sklearn.datasets import make_friedman1
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
torch.manual_seed(2024)

N_TRAIN, N_VAL = 1024, 256
BATCH_SIZE = 64
EPOCHS = 20

X, y = make_friedman1(n_samples=N_TRAIN + N_VAL, n_features=10, noise=1.0, random_state=2024)
X = torch.tensor(X).float()
y = torch.tensor(y).float().unsqueeze(1)
x_mean, x_std = X[:N_TRAIN].mean(0), X[:N_TRAIN].std(0)
y_mean, y_std = y[:N_TRAIN].mean(), y[:N_TRAIN].std()
X, y = (X - x_mean) / x_std, (y - y_mean) / y_std

train_loader = DataLoader(TensorDataset(X[:N_TRAIN], y[:N_TRAIN]), batch_size=BATCH_SIZE, shuffle=True)
val_loader = DataLoader(TensorDataset(X[N_TRAIN:], y[N_TRAIN:]), batch_size=BATCH_SIZE)

model = nn.Sequential(
    nn.Linear(10, 64),
    nn.SiLU(),
    nn.Linear(64, 64),
    nn.SiLU(),
    nn.Linear(64, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
scheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(train_loader))

for epoch in range(EPOCHS):
    model.train()
    train_loss = 0.0
    for features, target in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(features), target)
        loss.backward()
        scheduler.step()  # fault: comes before the optimizer's step
        optimizer.step()
        train_loss += loss.item() * len(features)

    model.eval()
    val_loss = 0.0
    with torch.no_grad():
        for features, target in val_loader:
            val_loss += criterion(model(features), target).item() * len(features)

    lr = scheduler.get_last_lr()[0]
    print(f"epoch {epoch + 1:02d} lr {lr:.5f} train {train_loss / N_TRAIN:.4f} val {val_loss / N_VAL:.4f}")

print(f"final validation mse (standardised target): {val_loss / N_VAL:.4f}")
