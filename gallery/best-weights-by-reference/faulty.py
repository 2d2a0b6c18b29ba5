"""Early stopping on a small noisy data set: keep the weights with the lowest validation loss and test those."""

import copy

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class EarlyStopping:
    """Remembers the best weights, and says when to stop."""

    def __init__(self, patience):
        self.patience = patience
        self.best_loss = float("inf")
        self.best_weights = None
        self.bad_epochs = 0

    def update(self, loss, model):
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_weights = model.state_dict()  # fault: references to the parameters that are trained on
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        return self.bad_epochs > self.patience

    def restore(self, model):
        model.load_state_dict(self.best_weights)


def mean_loss(model, loader):
    model.eval()
    total, seen = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            total += nn.functional.mse_loss(model(x), y, reduction="sum").item()
            seen += len(y)
    model.train()
    return total / seen


def main():
    torch.manual_seed(4)
    x, y = load_diabetes(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32) * 20
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
    order = torch.randperm(len(x))
    train, valid, test = (TensorDataset(x[part], y[part]) for part in (order[:120], order[120:280], order[280:]))
    train_loader = DataLoader(train, batch_size=20, shuffle=True)
    valid_loader, test_loader = DataLoader(valid, batch_size=80), DataLoader(test, batch_size=81)

    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    stopper = EarlyStopping(patience=25)
    for epoch in range(60):
        for xb, yb in train_loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(xb), yb).backward()
            optimizer.step()
        if stopper.update(mean_loss(model, valid_loader), model):
            break
    stopper.restore(model)
    print(f"stopped after epoch {epoch}, best validation loss {stopper.best_loss:.4f}")
    print(f"restored: validation loss {mean_loss(model, valid_loader):.4f}, test loss {mean_loss(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
