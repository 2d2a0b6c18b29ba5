"""Logistic-style digit classifier without torch.optim: the update is written out under no_grad."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.utils import shuffle

torch.manual_seed(15)
lr = 0.1
bs = 64

x, y = shuffle(*load_digits(return_X_y=True), random_state=15)
x = torch.tensor(x).float()
y = torch.tensor(y)
x_train, y_train = x[:1440], y[:1440]
x_valid, y_valid = x[1440:], y[1440:]
mean, std = x_train.mean(), x_train.std()
x_train, x_valid = (x_train - mean) / std, (x_valid - mean) / std


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = nn.Linear(64, 40)
        self.lin2 = nn.Linear(40, 10)

    def forward(self, xb):
        return self.lin2(torch.tanh(self.lin1(xb)))


def accuracy(out, yb):
    return (torch.argmax(out, dim=1) == yb).float().mean()


model = Model()
loss_func = nn.CrossEntropyLoss()


def fit(epochs):
    n = len(x_train)
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(n)
        total = 0.0
        for i in range((n - 1) // bs + 1):
            rows = order[i * bs:i * bs + bs]
            xb, yb = x_train[rows], y_train[rows]
            pred = model(xb)
            loss = loss_func(pred, yb)
            total += loss.item() * len(rows)

            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= p.grad * lr
                model.zero_grad()

        model.eval()
        with torch.no_grad():
            out = model(x_valid)
        print(epoch, f"{total / n:.4f}", f"{loss_func(out, y_valid).item():.4f}", f"{accuracy(out, y_valid).item():.4f}")


fit(15)
print("validation accuracy", f"{accuracy(model(x_valid), y_valid).item():.4f}")
