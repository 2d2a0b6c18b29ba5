"""Cross-validation on wine; each fold is scaled by itself and cut into batches by hand."""
import copy
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold

SEED = 2021
np.random.seed(SEED)
torch.manual_seed(SEED)


class WineClassifier(nn.Module):
    def __init__(self, in_features=13, hidden=32, n_classes=3, p=0.1):
        super(WineClassifier, self).__init__()
        self.layer_1 = nn.Linear(in_features, hidden)
        self.layer_2 = nn.Linear(hidden, hidden)
        self.layer_out = nn.Linear(hidden, n_classes)
        self.dropout = nn.Dropout(p)

    def forward(self, x):
        x = torch.relu(self.layer_1(x))
        x = self.dropout(x)
        x = torch.relu(self.layer_2(x))
        return self.layer_out(x)


def accuracy(logits, y):
    return (logits.argmax(dim=1) == y).float().mean().item()


def train_fold(model, X_tr, y_tr, X_va, y_va, epochs=30, batch_size=16):
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    n = X_tr.shape[0]
    for epoch in range(epochs):
        model.train()
        idx = torch.randperm(n)
        epoch_loss = 0
        for start in range(0, n, batch_size):
            b = idx[start:start + batch_size]
            optimizer.zero_grad()
            loss = criterion(model(X_tr[b]), y_tr[b])
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(b)
        if (epoch + 1) % 10 == 0:
            model.eval()
            with torch.no_grad():
                logits = model(X_va)
                val_loss = criterion(logits, y_va).item()
            print(f'  epoch {epoch + 1:>3} loss {epoch_loss / n:.4f} val_loss {val_loss:.4f} val_acc {accuracy(logits, y_va):.4f}')
    model.eval()
    with torch.no_grad():
        return accuracy(model(X_va), y_va)


def main():
    X, y = load_wine(return_X_y=True)
    skf = StratifiedKFold(n_splits=5, shuffle=True, random_state=SEED)
    scores = []
    model = WineClassifier()  # fault: built once for all folds
    for fold, (tr, va) in enumerate(skf.split(X, y)):
        mean, std = X[tr].mean(axis=0), X[tr].std(axis=0)
        to_x = lambda a: torch.tensor((a - mean) / std, dtype=torch.float32)
        to_y = lambda a: torch.tensor(a, dtype=torch.long)
        print(f'fold {fold}')
        scores.append(train_fold(model, to_x(X[tr]), to_y(y[tr]), to_x(X[va]), to_y(y[va])))
    print('CV accuracy %.4f +- %.4f' % (np.mean(scores), np.std(scores)))


if __name__ == '__main__':
    main()
