"""Predict the origin of a wine from its chemical analysis."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(21)
np.random.seed(21)

features, origin = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    features, origin, test_size=0.3, shuffle=True, stratify=origin
)
scaler = StandardScaler().fit(X_train)
X_train = torch.tensor(scaler.transform(X_train), dtype=torch.float32)
X_test = torch.tensor(scaler.transform(X_test), dtype=torch.float32)
y_train = torch.tensor(y_train)
y_test = torch.tensor(y_test)

train_dl = DataLoader(TensorDataset(X_train, y_train), batch_size=16, shuffle=True)
test_dl = DataLoader(TensorDataset(X_test, y_test), batch_size=16)

net = nn.Sequential(
    nn.Linear(13, 32),
    nn.Tanh(),
    nn.Linear(32, 16),
    nn.Tanh(),
    nn.Linear(16, 3),
)
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.SGD(net.parameters(), lr=0.1)

n_epochs = 20
for epoch in range(n_epochs):
    net.train()
    epoch_loss = 0.0
    for xb, yb in train_dl:
        pred = net(xb)
        loss = loss_fn(pred, yb)
        loss.backward()  # fault: gradients are never zeroed
        opt.step()
        epoch_loss += loss.item() * len(xb)
    epoch_loss /= len(X_train)

    net.eval()
    test_loss, n_right = 0.0, 0
    with torch.no_grad():
        for xb, yb in test_dl:
            pred = net(xb)
            test_loss += loss_fn(pred, yb).item() * len(xb)
            n_right += int((pred.argmax(dim=1) == yb).sum())
    test_loss /= len(X_test)
    test_acc = n_right / len(X_test)
    print("epoch %2d  loss %.4f  test loss %.4f  test acc %.3f" % (epoch + 1, epoch_loss, test_loss, test_acc))

print("final test loss %.4f, accuracy %.3f" % (test_loss, test_acc))
