"""Predict diabetes progression from ten measurements; a scaler per split."""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def tensors(x, y):
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))


def make_loaders(batch_size):
    data = load_diabetes(scaled=False)
    x_train, x_val, y_train, y_val = train_test_split(data.data, data.target, test_size=0.2, random_state=9)
    y_train, y_val = (y_train - 152) / 77, (y_val - 152) / 77
    scaler = StandardScaler()
    train = tensors(scaler.fit_transform(x_train), y_train)
    val = tensors(scaler.fit_transform(x_val), y_val)  # fault: fitted again, on the validation set
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, batch_size)


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 1))

    def forward(self, x):
        return self.net(x).flatten()


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader, val_loader = make_loaders(32)
    model = Regressor()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    for epoch in range(15):
        model.train()
        for x, y in train_loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            squares = np.concatenate([((model(x) - y) ** 2).numpy() for x, y in val_loader])
        print(f"epoch {epoch:2d}: validation RMSE {77 * np.sqrt(squares.mean()):.1f}")
