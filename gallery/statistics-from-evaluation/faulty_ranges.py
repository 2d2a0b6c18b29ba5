"""Wine with batches from a generator; the table is scaled after the split."""
import argparse
import torch
import numpy as np
from sklearn import datasets, preprocessing, model_selection


def parse():
    ap = argparse.ArgumentParser()
    ap.add_argument('--lr', default=0.01, type=float)
    ap.add_argument('--epochs', default=80, type=int)
    ap.add_argument('--bs', default=24, type=int)
    return ap.parse_args()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(13, 24)
        self.b = torch.nn.Linear(24, 3)

    def forward(self, x):
        return self.b(torch.nn.functional.elu(self.a(x)))


def batches(x, y, bs, gen):
    order = torch.randperm(len(x), generator=gen)
    for chunk in order.split(bs):
        yield x[chunk], y[chunk]


def main():
    args = parse()
    gen = torch.Generator().manual_seed(99)
    torch.manual_seed(99)
    wine = datasets.load_wine()
    xtr, xte, ytr, yte = model_selection.train_test_split(wine.data, wine.target, test_size=0.35, random_state=4, stratify=wine.target)
    scaler = preprocessing.StandardScaler()
    xtr = scaler.fit_transform(xtr)
    xte = preprocessing.MinMaxScaler().fit_transform(xte)  # fault: another scaler, fitted on the test set
    xtr, xte = torch.tensor(xtr).float(), torch.tensor(xte).float()
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)

    net = Net()
    opt = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    for epoch in range(args.epochs):
        net.train()
        for xb, yb in batches(xtr, ytr, args.bs, gen):
            loss = torch.nn.functional.cross_entropy(net(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        if (epoch + 1) % 10 == 0:
            net.eval()
            with torch.no_grad():
                out = net(xte)
                tl = torch.nn.functional.cross_entropy(out, yte)
                ta = (out.max(1)[1] == yte).double().mean()
            print('Epoch: {} \t train {:.4f} \t test {:.4f} \t acc {:.2%}'.format(epoch + 1, loss.item(), tl.item(), ta.item()))


if __name__ == '__main__':
    main()
