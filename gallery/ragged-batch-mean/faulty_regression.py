# disease progression regression (sklearn diabetes), flat script
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(6)
torch.manual_seed(6)

bunch = load_diabetes(scaled=False)
perm = np.random.permutation(len(bunch.target))
n_train = 345
train_idx, val_idx = perm[:n_train], perm[n_train:]

x_mean, x_std = bunch.data[train_idx].mean(0), bunch.data[train_idx].std(0)
y_mean, y_std = bunch.target[train_idx].mean(), bunch.target[train_idx].std()


def tensors(idx):
    x = torch.tensor((bunch.data[idx] - x_mean) / x_std, dtype=torch.float32)
    y = torch.tensor((bunch.target[idx] - y_mean) / y_std, dtype=torch.float32).unsqueeze(1)
    return x, y


train_loader = DataLoader(TensorDataset(*tensors(train_idx)), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(*tensors(val_idx)), batch_size=32)
print("batches:", [len(b[0]) for b in val_loader], "in validation")

model = nn.Sequential(
    nn.Linear(10, 32),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(32, 1),
)
loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(40):
    model.train()
    train_loss = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(x)
    train_loss /= len(train_idx)

    model.eval()
    val_mse, val_mae = 0.0, 0.0
    with torch.no_grad():
        for x, y in val_loader:
            pred = model(x)
            val_mse += loss_fn(pred, y).item()
            val_mae += (pred - y).abs().mean().item() * y_std
    # fault: a mean of batch means; the last batch has one example
    val_mse, val_mae = val_mse / len(val_loader), val_mae / len(val_loader)

    if epoch % 2 == 1:
        print(f"epoch {epoch + 1:2d}  train mse {train_loss:.4f}  val mse {val_mse:.4f}  val mae {val_mae:.2f}")
