"""Recognise digits; training stops when the validation accuracy has not improved for a while."""
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class EarlyStopping:
    def __init__(self, patience=5, min_delta=0.0, path=None):
        self.patience, self.min_delta = patience, min_delta
        self.counter, self.best_score, self.early_stop = 0, None, False
        self.state = None

    def __call__(self, val_acc, model):
        if self.best_score is None:
            self.best_score = val_acc
            self.save_checkpoint(model)
        elif val_acc <= self.best_score + self.min_delta:
            self.counter += 1
            if self.counter >= self.patience:
                self.early_stop = True
        else:
            self.best_score = val_acc
            self.save_checkpoint(model)
            self.counter = 0

    def save_checkpoint(self, model):
        self.state = {k: v.clone() for k, v in model.state_dict().items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    torch.manual_seed(5)
    digits = load_digits()
    x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target)
    train_idx, rest = train_test_split(range(len(y)), test_size=0.3, random_state=5, stratify=digits.target)
    val_idx, test_idx = train_test_split(rest, test_size=0.5, random_state=5)

    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 10))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    stopper = EarlyStopping(patience=6)
    train_idx = torch.tensor(train_idx)
    for epoch in range(args.epochs):
        net.train()
        for i in train_idx[torch.randperm(len(train_idx))].split(args.batch_size):
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            val_acc = (net(x[val_idx]).argmax(1) == y[val_idx]).float().mean().item()
        stopper(val_acc, net)
        print(f"{epoch:3d} loss {loss.item():.3f} val {val_acc:.3f}")
        if stopper.early_stop:
            break
    net.load_state_dict(stopper.state)
    net.eval()
    with torch.no_grad():
        print("test", (net(x[test_idx]).argmax(1) == y[test_idx]).float().mean().item())


if __name__ == "__main__":
    main()
