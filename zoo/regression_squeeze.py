"""Diabetes regression: the network emits [N, 1], squeezed to match targets of shape [N]. Writes a JSON log."""
import json
import logging
import sys

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
log = logging.getLogger("diabetes")


def standardise(train, *others):
    mean, std = train.mean(0), train.std(0)
    return [(a - mean) / std for a in (train, *others)]


class Net(torch.nn.Module):
    def __init__(self, d_in: int, width: int = 32):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.inp = torch.nn.Linear(d_in, width)
        self.out = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.out(F.relu(self.norm(self.inp(x))))


def evaluate(net, loader):
    net.eval()
    absolute = squared = count = 0.0
    with torch.no_grad():
        for x, y in loader:
            error = net(x).squeeze(-1) - y
            absolute += error.abs().sum().item()
            squared += error.square().sum().item()
            count += y.numel()
    net.train()
    return absolute / count, squared / count


def main() -> int:
    torch.manual_seed(2024)
    X, y = load_diabetes(return_X_y=True)
    X_tr, X_te, y_tr, y_te = (torch.tensor(a, dtype=torch.float32) for a in train_test_split(X, y, random_state=2024))
    X_tr, X_te = standardise(X_tr, X_te)
    y_tr, y_te = standardise(y_tr, y_te)
    train_loader = DataLoader(TensorDataset(X_tr, y_tr), batch_size=24, shuffle=True)
    test_loader = DataLoader(TensorDataset(X_te, y_te), batch_size=64)

    net = Net(X.shape[1])
    optim = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    records = []
    for epoch in range(12):
        epoch_loss = 0.0
        for xb, yb in train_loader:
            prediction = net(xb).squeeze(-1)
            loss = F.mse_loss(prediction, yb)
            optim.zero_grad()
            loss.backward()
            optim.step()
            epoch_loss += loss.item() * xb.shape[0]
        mae, mse = evaluate(net, test_loader)
        records.append({"epoch": epoch, "train_mse": epoch_loss / len(y_tr), "test_mae": mae, "test_mse": mse})
        log.info("epoch %d train %.4f test mse %.4f mae %.4f", epoch, records[-1]["train_mse"], mse, mae)
    with open("diabetes_log.json", "w") as handle:
        json.dump(records, handle, indent=1)
    log.info("test R2 %.3f", 1 - mse / y_te.var(correction=0).item())
    return 0


if __name__ == "__main__":
    sys.exit(main())
