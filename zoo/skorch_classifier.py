"""Breast cancer with skorch: a torch module inside a scikit-learn pipeline."""
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn


class MyModule(nn.Module):
    def __init__(self, num_units=24, nonlin=nn.ReLU()):
        super().__init__()
        self.dense0 = nn.Linear(30, num_units)
        self.nonlin = nonlin
        self.dropout = nn.Dropout(0.1)
        self.output = nn.Linear(num_units, 2)

    def forward(self, X):
        return self.output(self.dropout(self.nonlin(self.dense0(X))))


def main():
    torch.manual_seed(0)
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X.astype(np.float32), y.astype(np.int64)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    net = NeuralNetClassifier(
        MyModule,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        optimizer__weight_decay=1e-4,
        lr=3e-3,
        max_epochs=12,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=ValidSplit(5, stratified=True),
        callbacks=[
            ("auc", EpochScoring("roc_auc", lower_is_better=False)),
            ("lr", LRScheduler(policy=torch.optim.lr_scheduler.ExponentialLR, gamma=0.95)),
        ],
        verbose=0,
    )
    pipe = make_pipeline(StandardScaler(), net)
    pipe.fit(X_train, y_train)
    for row in net.history:
        print(f"epoch {row['epoch']:2d} train {row['train_loss']:.4f} valid {row['valid_loss']:.4f} "
              f"acc {row['valid_acc']:.4f} auc {row['roc_auc']:.4f}")
    proba = pipe.predict_proba(X_test)
    print(f"test accuracy {pipe.score(X_test, y_test):.4f}, test AUC {roc_auc_score(y_test, proba[:, 1]):.4f}")


if __name__ == "__main__":
    main()
