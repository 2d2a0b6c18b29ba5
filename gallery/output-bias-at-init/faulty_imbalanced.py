"""Find the rare faulty machines (3 %) among many good ones from sensor readings."""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def simulate(n, faulty_share, rng):
    """Eight sensors; a faulty machine runs hot and shakes, each in its own degree."""
    labels = (rng.random(n) < faulty_share).astype(np.float32)
    readings = rng.normal(size=(n, 8))
    severity = labels * rng.gamma(6.0, 0.5, size=n)
    readings[:, 1] += severity
    readings[:, 4] -= severity * 0.8
    readings[:, 6] *= 1 + severity
    return readings.astype(np.float32), labels


class Detector(nn.Module):
    def __init__(self, positives, hidden=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.bias)  # fault: starts at 50 % although 3 % are positive

    def forward(self, readings):
        return self.score(self.encoder(readings)).squeeze(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=12)
    opt = parser.parse_args()

    torch.manual_seed(opt.seed)
    rng = np.random.default_rng(opt.seed)
    x, y = simulate(opt.machines, 0.03, rng)
    n_val = opt.machines // 5
    x_val, y_val, x_train, y_train = x[:n_val], y[:n_val], x[n_val:], y[n_val:]
    center, scale = x_train.mean(0), x_train.std(0)
    train = TensorDataset(torch.from_numpy((x_train - center) / scale), torch.from_numpy(y_train))
    val = TensorDataset(torch.from_numpy((x_val - center) / scale), torch.from_numpy(y_val))
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    val_loader = DataLoader(val, batch_size=250)

    model = Detector(positives=float(y_train.mean()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(opt.epochs):
        model.train()
        loss_sum = 0.0
        for readings, label in train_loader:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(readings), label)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(label)

        model.eval()
        with torch.no_grad():
            scores = torch.cat([model(readings) for readings, _ in val_loader])
        found = average_precision_score(y_val, scores.numpy())
        print(f"epoch {epoch}: train loss {loss_sum / len(train):.4f}, val average precision {found:.4f}")
    print(f"final val average precision {found:.4f}")


if __name__ == "__main__":
    main()
