"""Predict the alcohol content of a wine, in percent, from the rest of its chemical analysis."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(31)

table = torch.tensor(load_wine().data, dtype=torch.float32)
alcohol, chemistry = table[:, 0], table[:, 1:]
x_train, x_val, y_train, y_val = train_test_split(chemistry, alcohol, test_size=0.25, random_state=31)
mean, std = x_train.mean(0), x_train.std(0)
x_train, x_val = (x_train - mean) / std, (x_val - mean) / std

model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
nn.init.constant_(model[-1].bias, y_train.mean().item())

loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(25):
    model.train()
    for batch in torch.randperm(len(x_train)).split(16):
        optimizer.zero_grad()
        loss = loss_fn(model(x_train[batch]).squeeze(1), y_train[batch])
        loss.backward()
        optimizer.step()

    model.eval()
    with torch.no_grad():
        mse = loss_fn(model(x_val).squeeze(1), y_val).item()
    print(f"epoch {epoch + 1:3d}  val mse {mse:8.3f}  (rmse {mse ** 0.5:.3f} % alcohol)")

spread = y_val.std().item()
print(f"final val rmse {mse ** 0.5:.3f} % alcohol; the spread of the targets is {spread:.3f}")
