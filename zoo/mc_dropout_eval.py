"""MC dropout on the diabetes data: a normal evaluation and one with dropout left on for uncertainty."""
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class BayesianByDropout(nn.Module):
    def __init__(self, d_in, width=48, p=0.15):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d_in, width), nn.ReLU(), nn.Dropout(p), nn.Linear(width, width), nn.ReLU(), nn.Dropout(p), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.net(x)


def enable_dropout(model):
    """only the dropout layers go back to training mode"""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()


@torch.no_grad()
def predict(model, x):
    model.eval()
    return model(x)


@torch.no_grad()
def predict_with_uncertainty(model, x, samples=30):
    model.eval()
    enable_dropout(model)
    draws = torch.stack([model(x) for _ in range(samples)])
    model.eval()
    return draws.mean(0), draws.std(0)


def main():
    torch.manual_seed(50)
    X, y = load_diabetes(return_X_y=True)
    y = y[:, None]
    X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.25, random_state=50)
    xm, xs, ym, ys = X_tr.mean(0), X_tr.std(0), y_tr.mean(0), y_tr.std(0)
    f = lambda a, m, s: torch.tensor((a - m) / s, dtype=torch.float32)
    train = TensorDataset(f(X_tr, xm, xs), f(y_tr, ym, ys))
    x_va, t_va = f(X_va, xm, xs), f(y_va, ym, ys)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    model = BayesianByDropout(10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-3)
    loss_fn = nn.MSELoss()
    for epoch in range(20):
        model.train()
        losses = []
        for xb, tb in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(xb), tb)
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), len(xb)))
        if (epoch + 1) % 4 == 0:
            plain = loss_fn(predict(model, x_va), t_va).item()
            mean, std = predict_with_uncertainty(model, x_va)
            train_mse = np.average([l for l, _ in losses], weights=[n for _, n in losses])
            print(f"epoch {epoch + 1:2d} train {train_mse:.4f} valid {plain:.4f} mc-mean {loss_fn(mean, t_va).item():.4f} "
                  f"mean sigma {std.mean().item():.4f}")

    _, far = predict_with_uncertainty(model, 4 * x_va)
    print(f"sigma {std.mean().item():.3f} on the validation data, {far.mean().item():.3f} far away from it")


if __name__ == "__main__":
    main()
