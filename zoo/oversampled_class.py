"""Credit default model.  Defaults are the rarer class, so they are resampled."""
import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CONFIG = {"seed": 25, "hidden": 64, "lr": 2e-3, "batch": 64, "epochs": 8}


def applications(seed):
    return make_classification(n_samples=2400, n_features=16, n_informative=7, n_redundant=1,
                               n_clusters_per_class=2, weights=[0.9, 0.1], class_sep=1.3,
                               flip_y=0.04, random_state=seed)


def balance(X, y, seed):
    minority, majority = X[y == 1], X[y == 0]
    extra = resample(minority, n_samples=len(majority) - len(minority), random_state=seed)
    X = np.vstack([majority, minority, extra])
    y = np.concatenate([np.zeros(len(majority)), np.ones(len(minority) + len(extra))])
    return X, y.astype(int)


def prepare(cfg):
    X, y = applications(cfg["seed"])
    X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.25, stratify=y, random_state=cfg["seed"])
    X_tr, y_tr = balance(X_tr, y_tr, cfg["seed"])
    scaler = StandardScaler().fit(X_tr)

    def ds(X, y):
        return TensorDataset(torch.tensor(scaler.transform(X), dtype=torch.float32), torch.tensor(y))

    return ds(X_tr, y_tr), ds(X_va, y_va)


class Scorer(nn.Module):
    def __init__(self, n_in, hidden):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(hidden, 2))

    def forward(self, x):
        return self.layers(x)


def recall(pred, y, k):
    return (pred[y == k] == k).float().mean().item()


def main(cfg=CONFIG):
    torch.manual_seed(cfg["seed"])
    train_set, val_set = prepare(cfg)
    train_loader = DataLoader(train_set, cfg["batch"], shuffle=True,
                              generator=torch.Generator().manual_seed(cfg["seed"]))
    val_loader = DataLoader(val_set, 256)
    model = Scorer(16, cfg["hidden"])
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg["lr"], weight_decay=1e-3)
    for epoch in range(cfg["epochs"]):
        model.train()
        tl = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            tl += loss.item() * len(y)
        model.eval()
        vl, preds, ys = 0.0, [], []
        with torch.no_grad():
            for x, y in val_loader:
                out = model(x)
                vl += loss_fn(out, y).item() * len(y)
                preds.append(out.argmax(1))
                ys.append(y)
        preds, ys = torch.cat(preds), torch.cat(ys)
        print(f"epoch {epoch + 1:2d}  train {tl / len(train_set):.4f}  val {vl / len(val_set):.4f}  "
              f"recall good {recall(preds, ys, 0):.3f}  recall default {recall(preds, ys, 1):.3f}")


if __name__ == "__main__":
    main()
