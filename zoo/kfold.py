"""Five-fold cross-validation on breast-cancer data, a fresh model for every fold."""
import statistics

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

K, EPOCHS = 5, 6


def build_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 2))


def fit_fold(fold: int, X: np.ndarray, y: np.ndarray, train_ids, test_ids) -> float:
    torch.manual_seed(1000 + fold)
    mean, std = X[train_ids].mean(0), X[train_ids].std(0)
    Xs = torch.tensor((X - mean) / std, dtype=torch.float32)
    ys = torch.tensor(y)
    loader = DataLoader(TensorDataset(Xs[train_ids], ys[train_ids]), batch_size=38, shuffle=True)

    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        model.train()
        running = 0.0
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(yb)
    model.eval()
    with torch.no_grad():
        logits = model(Xs[test_ids])
        test_loss = criterion(logits, ys[test_ids]).item()
        accuracy = (logits.argmax(1) == ys[test_ids]).double().mean().item()
    print(f"fold {fold}: train loss {running / len(train_ids):.4f}, test loss {test_loss:.4f}, accuracy {accuracy:.4f}")
    return accuracy


X, y = load_breast_cancer(return_X_y=True)
folds = StratifiedKFold(n_splits=K, shuffle=True, random_state=0)
scores = [fit_fold(i, X, y, tr, te) for i, (tr, te) in enumerate(folds.split(X, y))]
print(f"mean accuracy {statistics.mean(scores):.4f} +- {statistics.stdev(scores):.4f}")
