"""A linear support vector machine by gradient descent."""
import argparse
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


class SVM(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(d) * 0.01)
        self.b = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x @ self.w + self.b


def hinge(score, y):
    return torch.clamp(1 - y * score, min=0).mean()


def get_data(seed):
    X, y = load_breast_cancer(return_X_y=True)
    Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    sc = StandardScaler().fit(Xa)
    t = lambda v: torch.tensor(v, dtype=torch.float32)
    ya, yb = t(ya) * 2 - 1, t(yb) * 2 - 1
    return t(sc.transform(Xa)), ya, t(sc.transform(Xb)), yb


def run(args):
    torch.manual_seed(args.seed)
    xa, ya, xb, yb = get_data(args.seed)
    net = SVM(xa.shape[1])
    opt = torch.optim.SGD(net.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        perm = torch.randperm(len(xa))
        total = 0.0
        for idx in perm.split(args.batch):
            loss = hinge(net(xa[idx]), ya[idx]) + args.c * net.w.square().sum()
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(idx)
        if epoch % 20 == 0:
            print(f"epoch {epoch:3d} objective {total / len(xa):.4f}")
    with torch.no_grad():
        pred = (net(xb) > 0).int()
    truth = (yb > 0.5).int()
    print(f"test accuracy {(pred == truth).float().mean():.4f}  balanced {balanced_accuracy_score(truth, pred):.4f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--epochs", type=int, default=200)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--c", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    run(p.parse_args())
