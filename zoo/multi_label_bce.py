"""Multi-label classification of synthetic documents with BCEWithLogitsLoss; options on the command line."""
import argparse

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=4)
    return parser.parse_args(argv)


def get_dataset(args):
    X, Y = make_multilabel_classification(
        n_samples=2000, n_features=40, n_classes=6, n_labels=2, length=60, random_state=args.seed)
    X = np.log1p(X)  # word counts
    rng = np.random.RandomState(args.seed)
    idx = rng.permutation(len(X))
    tr, va = idx[:1600], idx[1600:]
    X = (X - X[tr].mean(axis=0)) / X[tr].std(axis=0)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    return [TensorDataset(torch.from_numpy(X[i]), torch.from_numpy(Y[i])) for i in (tr, va)]


class Tagger(nn.Module):
    def __init__(self, n_in, hidden, n_out):
        super(Tagger, self).__init__()
        self.hidden = nn.Linear(n_in, hidden)
        self.dropout = nn.Dropout(p=0.2)
        self.output = nn.Linear(hidden, n_out)

    def forward(self, x):
        return self.output(self.dropout(torch.relu(self.hidden(x))))


def run_epoch(model, loader, criterion, optimizer=None):
    if optimizer:
        model.train()
    else:
        model.eval()
    loss_sum, scores, truth = 0.0, [], []
    for x, y in loader:
        if optimizer:
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, y)
            loss.backward()
            optimizer.step()
        else:
            with torch.no_grad():
                logits = model(x)
                loss = criterion(logits, y)
        loss_sum += loss.item() * x.shape[0]
        scores.append(torch.sigmoid(logits.detach()))
        truth.append(y)
    return loss_sum / len(loader.dataset), torch.cat(scores).numpy(), torch.cat(truth).numpy()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    train_set, valid_set = get_dataset(args)
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=args.batch_size)
    model = Tagger(40, args.hidden, 6)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = optim.NAdam(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        train_loss, _, _ = run_epoch(model, train_loader, criterion, optimizer)
        valid_loss, p, t = run_epoch(model, valid_loader, criterion)
        micro = f1_score(t, p > args.threshold, average="micro")
        exact = ((p > args.threshold) == t).all(axis=1).mean()
        print(f"{epoch}: train={train_loss:.4f} valid={valid_loss:.4f} micro-F1={micro:.4f} exact={exact:.4f}")
    print("settings", vars(args), "-> micro-F1 %.4f" % micro)


if __name__ == "__main__":
    main()
