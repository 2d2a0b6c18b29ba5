"""Breast cancer by a fit/predict class; the score on the training set is computed from arrays again, as for the test set."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Rows(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return np.asarray(self.x[i], dtype="float64")


class Classifier:
    def __init__(self, hidden=24, epochs=12, batch_size=32, lr=3e-3):
        self.hidden, self.epochs, self.batch_size, self.lr = hidden, epochs, batch_size, lr

    def fit(self, x, y):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(x.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, 2))
        data = TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        for _ in range(self.epochs):
            self.net.train()
            for a, b in DataLoader(data, self.batch_size, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(a), b).backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def predict(self, x):
        self.net.eval()
        return np.concatenate([self.net(a.float()).argmax(1).numpy() for a in DataLoader(Rows(x), 256)])


x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y)
mean, std = x_train.mean(0), x_train.std(0)
x_train, x_test = (x_train - mean) / std, (x_test - mean) / std
model = Classifier().fit(x_train, y_train)
print("train", (model.predict(x_train) == y_train).mean().round(3))
print("test ", (model.predict(x_test) == y_test).mean().round(3))
