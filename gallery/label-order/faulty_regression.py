"""Predict diabetes progression from a table of patients sorted by how ill they became."""

import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes

SEED, EPOCHS, BATCH_SIZE, LR = 40, 15, 16, 0.005
torch.manual_seed(SEED)

x, y = load_diabetes(return_X_y=True, scaled=False)
by_target = y.argsort()  # the table lists the mildest cases first
features = torch.tensor(x[by_target], dtype=torch.float32)
target = torch.tensor(y[by_target], dtype=torch.float32)

is_val = torch.zeros(len(target), dtype=torch.bool)
is_val[torch.randperm(len(target))[:88]] = True
features = (features - features[~is_val].mean(dim=0)) / features[~is_val].std(dim=0)
target_mean, target_std = target[~is_val].mean(), target[~is_val].std()
target = (target - target_mean) / target_std

x_train, y_train = features[~is_val], target[~is_val]
x_val, y_val = features[is_val], target[is_val]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 32)
        self.drop = nn.Dropout(0.1)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x):
        x = nn.functional.softplus(self.fc1(x))
        return self.fc2(self.drop(x)).flatten()


def mean_absolute_error(model):
    """On the validation patients, in the units of the table."""
    model.eval()
    with torch.no_grad():
        error = (model(x_val) - y_val).abs().mean() * target_std
    model.train()
    return error.item()


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
loss_fn = nn.HuberLoss()

model.train()
for epoch in range(EPOCHS):
    order = torch.arange(len(x_train))  # fault: from mild to severe in every epoch
    running = 0.0
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        loss = loss_fn(model(x_train[rows]), y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item() * len(rows)
    val_mae = mean_absolute_error(model)
    print(f"epoch {epoch + 1:2d}  train huber {running / len(x_train):.4f}  val MAE {val_mae:.2f}")

baseline = y_val.abs().mean().item() * target_std.item()
print(f"final val MAE {val_mae:.2f} (always predicting the mean: {baseline:.2f})")
