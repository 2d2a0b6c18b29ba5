"""Predict a smooth function of ten inputs (Friedman 1) with a two-layer tanh network."""

import torch
from sklearn.datasets import make_friedman1
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class TanhNet(nn.Module):
    def __init__(self, n_inputs, width=48):
        super().__init__()
        self.layer1 = nn.Linear(n_inputs, width)
        self.layer2 = nn.Linear(width, width)
        self.readout = nn.Linear(width, 1)
        for layer in (self.layer1, self.layer2):
            nn.init.normal_(layer.weight, std=2.0)  # fault: far too large for tanh
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = torch.tanh(self.layer1(x))
        x = torch.tanh(self.layer2(x))
        return self.readout(x).squeeze(-1)


class Experiment:
    lr = 1e-3
    batch_size = 50
    epochs = 14

    def __init__(self, seed):
        torch.manual_seed(seed)
        x, y = make_friedman1(n_samples=1800, noise=0.5, random_state=seed)
        x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
        train, val = random_split(range(len(x)), [1500, 300])
        x = (x - x[train.indices].mean(0)) / x[train.indices].std(0)
        y = (y - y[train.indices].mean()) / y[train.indices].std()
        self.train_loader = DataLoader(
            TensorDataset(x[train.indices], y[train.indices]), self.batch_size, shuffle=True
        )
        self.val_x, self.val_y = x[val.indices], y[val.indices]
        self.model = TanhNet(n_inputs=10)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        self.loss = nn.MSELoss()

    def train(self):
        self.model.train()
        total = 0.0
        for x, y in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.train_loader)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        return self.loss(self.model(self.val_x), self.val_y).item()

    def run(self):
        for epoch in range(1, self.epochs + 1):
            train_mse, val_mse = self.train(), self.validate()
            print(f"[{epoch:2d}] train mse {train_mse:.4f} | val mse {val_mse:.4f}")
        print(f"final val mse {val_mse:.4f}")


if __name__ == "__main__":
    Experiment(seed=19).run()
