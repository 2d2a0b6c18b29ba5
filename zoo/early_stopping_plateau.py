"""Diabetes regression with ReduceLROnPlateau and early stopping; the best weights are kept in memory and restored."""
import copy

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.bad_epochs, self.state = float("inf"), 0, None

    def __call__(self, value, model):
        if value < self.best - self.min_delta:
            self.best, self.bad_epochs = value, 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.bad_epochs += 1
        return self.bad_epochs >= self.patience


def main():
    torch.manual_seed(83)
    X, y = (torch.tensor(a, dtype=torch.float32) for a in load_diabetes(return_X_y=True))
    order = torch.randperm(len(X))
    parts = {"train": order[:280], "valid": order[280:360], "test": order[360:]}
    X = (X - X[parts["train"]].mean(0)) / X[parts["train"]].std(0)
    y = (y - y[parts["train"]].mean()) / y[parts["train"]].std()
    sets = {k: TensorDataset(X[i], y[i]) for k, i in parts.items()}
    loaders = {k: DataLoader(s, batch_size=28, shuffle=k == "train") for k, s in sets.items()}

    model = nn.Sequential(nn.Linear(10, 32), nn.Softplus(), nn.Linear(32, 1), nn.Flatten(0))
    huber = nn.HuberLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    plateau = ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=4, min_lr=1e-4)
    stopper = EarlyStopping(patience=14)

    def mean_loss(split):
        model.eval()
        with torch.no_grad():
            total = sum(huber(model(a), b).item() * len(b) for a, b in loaders[split])
        return total / len(sets[split])

    for epoch in range(60):
        model.train()
        for a, b in loaders["train"]:
            optimizer.zero_grad()
            huber(model(a), b).backward()
            optimizer.step()
        valid = mean_loss("valid")
        plateau.step(valid)
        if epoch % 6 == 0:
            print(f"epoch {epoch:2d} train {mean_loss('train'):.4f} valid {valid:.4f} lr {optimizer.param_groups[0]['lr']:.5f}")
        if stopper(valid, model):
            print("stopped early after epoch", epoch)
            break

    model.load_state_dict(stopper.state)
    print(f"best valid {stopper.best:.4f}, test {mean_loss('test'):.4f}")


if __name__ == "__main__":
    main()
