"""Detect malignant breast tumours from thirty measurements with a small batch-normalised network."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(50)


class TumourTable(Dataset):
    """Rows of the table, scaled by the given means and deviations."""

    def __init__(self, rows, mean, std):
        self.inputs = torch.tensor((table.data[rows] - mean) / std, dtype=torch.float32)
        self.malignant = torch.tensor(table.target[rows] == 0, dtype=torch.float32)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, row):
        return {"inputs": self.inputs[row], "malignant": self.malignant[row]}


table = load_breast_cancer()
rows = np.random.default_rng(50).permutation(len(table.target))
train_rows, val_rows = rows[:448], rows[448:]
mean, std = table.data[train_rows].mean(axis=0), table.data[train_rows].std(axis=0)

train_set = TumourTable(train_rows, mean, std)
val_set = TumourTable(val_rows, mean, std)
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
val_loader = DataLoader(train_set, batch_size=32)  # fault: validates on the training set

model = nn.Sequential(
    nn.Linear(30, 24),
    nn.BatchNorm1d(24),
    nn.LeakyReLU(),
    nn.Linear(24, 12),
    nn.BatchNorm1d(12),
    nn.LeakyReLU(),
    nn.Linear(12, 1),
)
loss_fn = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)

for epoch in range(1, 11):
    model.train()
    train_loss = 0.0
    for batch in train_loader:
        optimizer.zero_grad()
        logits = model(batch["inputs"]).squeeze(1)
        loss = loss_fn(logits, batch["malignant"])
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(logits) / len(train_loader.dataset)

    model.eval()
    val_loss, scores, truth = 0.0, [], []
    with torch.no_grad():
        for batch in val_loader:
            logits = model(batch["inputs"]).squeeze(1)
            val_loss += loss_fn(logits, batch["malignant"]).item() * len(logits) / len(val_loader.dataset)
            scores.extend(logits.tolist())
            truth.extend(batch["malignant"].tolist())
    auc = roc_auc_score(truth, scores)
    print(f"epoch {epoch:2d}: train loss {train_loss:.4f}  val loss {val_loss:.4f}  val AUC {auc:.4f}")

print(f"final val loss {val_loss:.4f}, AUC {auc:.4f}")
